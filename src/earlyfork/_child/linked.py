"""A forker's side of linked processes: they end with their owner, with all that they have started.

First SIGTERM is sent, and after a grace SIGKILL to what is left. A process that the forker may not
signal (it executed a setuid program, or the forker lacks the right) is left alone.
"""

from __future__ import annotations

import _signal

from earlyfork._child import descendants
from earlyfork._shared.posix import Clock, kill
from earlyfork._shared.sockets import POLLIN, Fds

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Mapping

    from earlyfork._child.descendants import Tree

#: What a linked process gets between SIGTERM and SIGKILL, in seconds.
GRACE = 0.4


class Linked:
    """The linked children of one forker."""

    def __init__(self) -> None:
        self.watched: dict[int, int] = {}  # fd whose end is the end of an owner -> linked pid
        self.held: dict[int, list[int]] = {}  # linked pid -> fds that are held until it is reaped
        self.doomed: dict[int, float] = {}  # pid -> when SIGKILL follows SIGTERM
        self.trees: dict[int, Tree] = {}  # doomed pid -> its descendants

    def fds(self) -> list[int]:
        """Fds that are held for linked children, beyond their status sockets."""
        return [fd for fds in self.held.values() for fd in fds]

    def link(self, pid: int, status: int, owner: Fds, lines: Fds) -> None:
        """From now on, end a child when its owner ends.

        Args:
            pid: the child's.
            status: the far end of its status socket; its hang-up is the owner's end.
            owner: fds that become readable at the owner's end.
            lines: far ends of the child's line. They are held until the child is reaped; as long as
                they are, the kernel does not kill the child.
        """
        self.held.setdefault(pid, []).extend((*owner, *lines))
        for fd in owner:
            self.watched[fd] = pid
        self.watched[status] = pid

    def polled(self, statuses: Mapping[int, int]) -> dict[int, int]:
        """What is polled to see owners end: fd -> events."""
        own = {*statuses.values()} if self.watched else set()
        return {fd: 0 if fd in own else POLLIN for fd in self.watched}

    def orphaned(self, fd: int) -> None:
        """An owner ended: begin the end of the process that is linked to it."""
        pid = self.watched[fd]
        self._unwatch(pid)
        self.doomed[pid] = Clock.monotonic() + GRACE
        self.trees[pid] = tree = _grab(pid)
        for number in (_signal.SIGTERM, _signal.SIGCONT):  # who is stopped must go on to see it
            signal_child(pid, number)
            descendants.send(tree, number)

    def _unwatch(self, pid: int) -> None:
        for fd in [fd for fd, linked in self.watched.items() if linked == pid]:
            del self.watched[fd]

    def overdue(self, statuses: Mapping[int, int]) -> None:
        """SIGKILL those whose grace is over, with all that they have started."""
        now = Clock.monotonic()
        for pid, when in list(self.doomed.items()):
            if when > now:
                continue
            del self.doomed[pid]
            tree = self.trees.pop(pid, [])
            if pid in statuses:
                tree += _grab(pid)
                signal_child(pid, _signal.SIGKILL)
                self.doomed[pid] = now + 3600  # done with; what is left is to reap it
            descendants.send(tree, _signal.SIGKILL)

    def forget(self, pid: int) -> list[int]:
        """Forget a child that is reaped, or that nobody waits for; returns the fds held for it."""
        self._unwatch(pid)
        if not self.trees.get(pid):
            self.trees.pop(pid, None)
            self.doomed.pop(pid, None)
        return self.held.pop(pid, [])


def _grab(pid: int) -> Tree:
    """A child's descendants. None without memory for them: then the child is ended without them."""
    try:
        return descendants.grab(pid)
    except MemoryError:
        return []


def signal_child(pid: int, number: int) -> None:
    """Signal a child that is not reaped."""
    try:
        kill(pid, number)
    except OSError:  # this process may not signal it
        return
