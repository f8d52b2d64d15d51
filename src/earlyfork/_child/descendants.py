"""A process's descendants, each known by its pid and the time of its start.

So no signal hits a stranger. No fd is held for any of them: there may be more of them than this
process may have open files. Where the system has no pidfds or no list of children (macOS, old
kernels) a tree is empty: then the process itself is ended, and its children are not.
"""

from __future__ import annotations

import _signal
import os

from earlyfork._shared.posix import Clock, close

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterable

    #: (pid, when that process began) of each.
    Tree = list[tuple[int, int]]

#: How long a tree may take to stop, in seconds. A process that does not stop by then (its disk
#: hangs, say) is taken as it is.
PATIENCE = 0.2
#: How many descendants are ended at most: a tree may not keep a forker busy.
MOST = 20_000


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += (int(word) for word in file.read().split())
    except OSError:  # gone, or a system without this list
        return found
    return found


def grab(pid: int) -> Tree:
    """All descendants of a process that is not reaped.

    The process and its descendants are stopped, from the top down, since who is stopped forks
    nobody. The caller must have them go on (SIGCONT).
    """
    tree: Tree = []
    if not hasattr(os, "pidfd_open"):  # pragma: no cover - macOS, BSD, kernels before 5.3
        return tree
    deadline = Clock.monotonic() + PATIENCE
    found = _look(pid)
    todo = [] if found is None else [(pid, found[2])]
    while todo and len(tree) < MOST:
        parent = todo.pop()
        send([parent], _signal.SIGSTOP)
        # Wait until it has stopped: a fork that is under way ends first.
        while (found := _look(parent[0])) and found[0] in "RSD" and Clock.monotonic() < deadline:
            os.sched_yield()
        for child in children_of(parent[0]):
            found = _look(child)
            if found is not None and found[1] == parent[0]:  # so nobody else has this pid by now
                tree.append((child, found[2]))
                todo.append(tree[-1])
    return tree


def _look(pid: int) -> tuple[str, int, int] | None:
    """State (a letter; T is stopped), parent and start of a process; None if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        return words[0], int(words[1]), int(words[19])
    except (OSError, IndexError):  # gone, or a system without this file
        return None


def send(tree: Iterable[tuple[int, int]], number: int) -> None:
    """Signal all processes of a tree that still live."""
    for pid, start in tree:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # gone
            continue
        try:
            found = _look(pid)
            if found is not None and found[2] == start:
                _signal.pidfd_send_signal(pidfd, number)
        except OSError:  # gone, or another user's by now
            continue
        finally:
            close(pidfd)
