"""A forker's side of its children: forking ahead, reaping, ending them with their owner.

Runs no user code, and waits by pid only, since code that was imported into a template may have
children of its own.
"""

from __future__ import annotations

import _operator
import _signal
import _socket
import os
import time

from earlyfork._child import descendants
from earlyfork._shared import payloads, wire
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import (
    CREDENTIALS,
    DONTWAIT,
    NOSIGNAL,
    POLLIN,
    Fds,
    message_pair,
    poll,
    rights,
    status_pair,
    stream_pair,
    write_status,
)

#: A template refills its standbys this long after a request, in seconds: the forking would
#: otherwise compete with the process that was just asked for.
REFILL_AFTER = 0.001
#: With this many children a forker makes no more itself: what a fork costs grows with the fds that
#: are inherited, and what a wait costs with the children.
CROWD = 128
#: When standbys are refilled that need not be.
NEVER = float("inf")
#: What a linked process gets between SIGTERM and SIGKILL, in seconds.
GRACE = 0.4
#: A handler that costs no frame of Python.
_do_nothing = _operator.is_


class Children:
    """The processes that this one forked and that it alone can reap."""

    def __init__(self) -> None:
        self.armed = False
        self.status: dict[int, int] = {}  # pid -> the far end of its status socket
        self.watched: dict[int, int] = {}  # fd whose end is the end of an owner -> linked pid
        self.lines: dict[int, Fds] = {}  # linked pid -> far ends, which end it when closed
        self.doomed: dict[int, float] = {}  # pid -> when SIGKILL follows SIGTERM
        self.trees: dict[int, Fds] = {}  # doomed pid -> pidfds of its descendants
        self.generation = 0
        self.queue: _socket.socket | None = None
        self.standby = 0  # how many to keep ready
        self.waiting: set[int] = set()  # standbys not known to be taken
        self.refill_at = NEVER
        self.lingering = False
        #: Whether code that was sent has run here: it may have waited for a child in our stead.
        self.careful = False
        #: Whether somebody shut the way up down.
        self.deaf = False

    def arm(self) -> None:
        """Make what a forker needs: the children's way up and a wakeup."""
        self.up_in, self.up_out = message_pair()
        try:
            self.wake_in, self.wake_out = status_pair()
        except OSError:
            self.up_in.close()
            self.up_out.close()
            raise
        self.up_in.setblocking(False)
        if CREDENTIALS is not None:
            self.up_in.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self.up_fd = self.up_in.fileno()
        self.listen()
        self.armed = True

    def listen(self) -> None:
        """Have the death of a child written to `wake_out`; look once for what died before."""
        if quick is not None:
            if _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_DFL:  # code that was sent did that
                _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            quick.listen(self.wake_out)
        else:
            _signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
            # The interpreter has written to that when a handler is called: any will do.
            _signal.signal(_signal.SIGCHLD, _do_nothing)
        if self.status:
            self._look_again()

    def _look_again(self) -> None:
        """Have the next turn look for dead children."""
        try:
            os.write(self.wake_out, b"!")
        except BlockingIOError:  # it will
            return

    def forget(self) -> None:
        """In a new child: let go of all that is its forker's, but for `more_fds`."""
        if quick is not None:
            quick.listen(-1)
        else:
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        close = os.close
        close(self.up_fd)
        close(self.wake_in)
        close(self.wake_out)
        if self.queue is not None:
            close(self.queue.fileno())
        for fd in self.status.values():
            close(fd)

    def more_fds(self) -> list[int]:
        """Fds that are held for linked children, beyond their status sockets."""
        held = [fd for fds in (*self.trees.values(), *self.lines.values()) for fd in fds]
        if self.watched:
            held += set(self.watched).difference(self.status.values())
        return held

    # -- making them --------------------------------------------------------------------------

    def fork(self, comm: int, status: int) -> bool:
        """Fork a process that will serve `comm`; True in the child. Owns both fds from here on.

        A refusal by the kernel is told to the one who waits for that process, and to nobody else.
        """
        try:
            pid = os.fork()
        except OSError as error:
            write_status(status, wire.NO_FORK, payloads.pack_number(error.errno or 0))
            Fds((comm, status)).close()
            return False
        if not pid:
            # Said here: a forker that is killed right now leaves a process that is known at least.
            write_status(status, wire.PID, payloads.pack_number(os.getpid()))
            os.close(status)
            return True
        self.status[pid] = status
        os.close(comm)
        return False

    @property
    def unusual(self) -> bool:
        """Whether this forker is about to end, is ending somebody, or hears nothing any more."""
        return self.lingering or self.deaf or bool(self.doomed)

    def owners(self) -> list[tuple[int, int]]:
        """What is polled beyond the usual, to see owners end: fds and events."""
        polled = {}
        if self.watched:
            own = {*self.status.values()}
            polled = {fd: 0 if fd in own else POLLIN for fd in self.watched}
        if self.lingering:  # POLLHUP comes unasked
            polled |= {fd: 0 for pid, fd in self.status.items() if pid not in self.doomed}
        return [*polled.items()]

    def poll(self, comm: int, patience: int | None) -> list[tuple[int, int]]:
        """Wait for something to happen to a child, to an owner or in `comm`."""
        # In this order: whoever is found dead has been heard before, or is in this round.
        polled = [(self.wake_in, POLLIN)]
        if not self.deaf:
            polled.append((self.up_fd, POLLIN))
        if comm >= 0:
            polled.append((comm, POLLIN))
        return poll(polled + self.owners(), patience)

    @property
    def crowded(self) -> bool:
        """Whether there are as many as one forker should have."""
        return len(self.status) >= CROWD

    def plan_refill(self, pause: float) -> None:
        """Fork standbys when this many seconds have passed, if fewer wait than should."""
        if self.queue is None or len(self.waiting) >= self.standby:
            self.refill_at = NEVER
        elif self.refill_at == NEVER or not pause:
            self.refill_at = time.monotonic() + pause

    def refill_is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self.refill_at

    def refill(self) -> int:
        """Fork one standby and queue it: its comm fd in the child, -1 in the forker."""
        assert self.queue is not None
        ends = Fds()
        try:
            ends += stream_pair()
            ends += status_pair()
            pid = os.fork()
        except OSError:  # whoever asks for a process will be told; nobody asked for this one
            self.refill_at = NEVER
            ends.close()
            return -1
        near, far, ours, theirs = ends
        if not pid:
            Fds((near, ours, theirs)).close()
            return far
        os.close(far)
        self.status[pid] = theirs
        self.waiting.add(pid)
        try:
            self.queue.sendmsg(
                [payloads.pack_queued(self.generation, pid)],
                rights((near, ours)),
                NOSIGNAL | DONTWAIT,
            )
        except OSError:  # the owner is gone, and the need with it
            self.standby = 0
            self.refill_at = NEVER
        Fds((near, ours)).close()
        self.plan_refill(0)
        return -1

    # -- losing them --------------------------------------------------------------------------

    def reap(self) -> bool:
        """Tell the owners of all children that ended, then let the kernel forget these.

        False: something came up before that, which must be heard first.
        """
        while self.status:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # somebody's code here took them: nobody can know
                for pid in list(self.status):
                    self._drop(pid)
                return True
            if info is None:
                return not self.careful or self._reap_one_by_one()
            if info.si_pid not in self.status:
                return self._reap_one_by_one()  # a child of imported code stands before ours
            if self._is_told():
                return False
            self._reaped(info.si_pid, info)
        return True

    def _is_told(self) -> bool:
        """Whether something waits to be heard: what a dead child said comes before its death."""
        if self.deaf:
            return False
        try:
            return bool(poll([(self.up_fd, POLLIN)], 0))
        except OSError:  # no memory: the death can't wait
            return False

    def _reap_one_by_one(self) -> bool:
        for pid in list(self.status):
            try:
                info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._drop(pid)
                continue
            if info is not None:
                if self._is_told():
                    return False
                self._reaped(pid, info)
        return True

    def _reaped(self, pid: int, info: os.waitid_result) -> None:
        # Told first, reaped second: an owner who sees no exit may trust the pid.
        code = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        write_status(self.status[pid], wire.EXIT, payloads.pack_number(code))
        os.waitpid(pid, 0)
        self._drop(pid)

    def _drop(self, pid: int) -> None:
        self._unwatch(pid)
        status = self.status.pop(pid)
        os.close(status)
        self.lines.pop(pid, Fds()).close()
        self.waiting.discard(pid)
        if not self.trees.get(pid):
            self.trees.pop(pid, None)
            self.doomed.pop(pid, None)

    # -- their owners -------------------------------------------------------------------------

    def tell(self, pid: int, op: int, payload: bytes) -> None:
        """Pass on what a child said."""
        write_status(self.status[pid], op, payload)

    def adopt(self, pid: int, status: int) -> None:
        """A child was taken up by another owner, who waits at `status`."""
        os.close(self.status[pid])
        self.status[pid] = status
        write_status(status, wire.PID, payloads.pack_number(pid))

    def owners_left(self) -> bool:
        """Whether somebody still waits for a child; forgets children for whom nobody does."""
        for fd, _ in self.poll(-1, 0):
            if fd in self.watched:
                self.orphaned(fd)
            elif fd not in (self.wake_in, self.up_fd):
                self.abandon(fd)
        return bool(self.status)

    def linger(self) -> None:
        """From now on, forget children whose owners are gone, and make no new ones ahead."""
        self.lingering = True
        self.refill_at = NEVER
        self._look_again()  # what failed may have been about to see to the dead
        if self.queue is not None:
            self.queue.close()
            self.queue = None

    def abandon(self, status: int) -> None:
        """Nobody waits at this status socket any more; those who must end stay until they have."""
        for pid in [pid for pid, fd in self.status.items() if fd == status]:
            if pid not in self.doomed:
                self._drop(pid)

    # -- ending them with their owner ---------------------------------------------------------

    def link(self, pid: int, owner: Fds, lines: Fds) -> None:
        """End `pid` when its status socket has no owner any more, or one of `owner` ends.

        `lines` are held until it is reaped: while they are, the kernel does not kill it.
        """
        if pid not in self.status:
            owner.close()
            lines.close()
            return
        if lines:
            self.lines.setdefault(pid, Fds()).extend(lines)
        for fd in owner:
            self.watched[fd] = pid
        self.watched[self.status[pid]] = pid

    def orphaned(self, fd: int) -> None:
        """An owner ended: begin the end of the process that is linked to it."""
        pid = self.watched[fd]
        self._unwatch(pid)
        self.doomed[pid] = time.monotonic() + GRACE
        self.trees[pid] = descendants.grab(pid)
        for number in (_signal.SIGTERM, _signal.SIGCONT):  # who is stopped must go on to see it
            os.kill(pid, number)
            descendants.send(self.trees[pid], number)

    def _unwatch(self, pid: int) -> None:
        status = self.status[pid]
        for fd in [fd for fd, linked in self.watched.items() if linked == pid]:
            del self.watched[fd]
            if fd != status:
                os.close(fd)

    def overdue(self) -> None:
        """SIGKILL those whose grace is over, with all that they have started."""
        now = time.monotonic()
        for pid, when in list(self.doomed.items()):
            if when > now:
                continue
            del self.doomed[pid]
            tree = self.trees.pop(pid, Fds())
            if pid in self.status:
                tree += descendants.grab(pid)
                os.kill(pid, _signal.SIGKILL)
                self.doomed[pid] = now + 3600  # done with; what is left is to reap it
            descendants.send(tree, _signal.SIGKILL)
            tree.close()

    @property
    def needed(self) -> bool:
        """Whether there is something left to do for a forker that lingers."""
        return bool(self.status or self.trees)

    def patience(self) -> int | None:
        """How long to sleep at most, in milliseconds."""
        first = min(self.refill_at, *self.doomed.values(), NEVER)
        return None if first == NEVER else max(0, int((first - time.monotonic()) * 1000 + 0.9))
