"""How several threads wait at one fd: one sleeps on it, and wakes the others when it has read.

Reads only when somebody asks, from any thread, and never blocks with a lock held. Where greenlets
stand for threads (gevent, eventlet), others of them run meanwhile.
"""

from __future__ import annotations

import _thread
import select

from earlyfork._ground.errors import ProcessStateError
from earlyfork._owner.own import Own
from earlyfork._shared.posix import Clock, is_replaced, own
from earlyfork._shared.quick import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

#: `select.poll`, whatever other code has put in the place of that.
new_poll: Callable[[], select.poll] = own(select, "poll")
#: What poll and locks take as a timeout, in seconds; whoever waits longer waits again.
LONGEST = 1e6


class Host:
    """What must be made anew in the child of a host that forks itself."""

    #: Reentrant, since a signal handler or the collector may look at a watch at any moment.
    lock = _thread.RLock()


def after_fork_in_child() -> None:
    """Make the lock anew: another thread may have held it when the host forked."""
    Host.lock = _thread.RLock()


def greenlets_wait() -> bool:
    """Whether what waits here lets other greenlets run, at an fd and at a lock.

    At one of them alone would not do: who waits at a lock for a greenlet must let that one run.
    """
    return is_replaced(select, "poll") and is_replaced(_thread, "allocate_lock")


def readable(fd: int, seconds: float | None) -> bool:
    """Whether there is something to read, waiting for it at most so long (or LONGEST)."""
    if seconds == 0 or getattr(select, "poll", None) is new_poll or not greenlets_wait():
        if quick is not None:
            return bool(quick.readable(fd, _milliseconds(seconds)))
        poll = new_poll()
    elif hasattr(select, "poll"):
        poll = select.poll()
    else:  # eventlet has no other
        return bool(select.select([fd], [], [], seconds)[0])
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(_milliseconds(seconds)))


def _milliseconds(seconds: float | None) -> int:
    """The same for poll; -1: for ever."""
    return -1 if seconds is None else max(0, int(min(seconds, LONGEST) * 1000 + 0.999))


class Readiness:
    """A question to a process: is all done that was sent to it so far? `when_ready` makes it."""

    __slots__ = ("_ask", "_fd")

    def __init__(self, fd: Callable[[], int], ask: Callable[[], bool]) -> None:
        self._fd = fd
        self._ask = ask

    def fileno(self) -> int:
        """An fd that is readable when something has come that `done` should look at.

        It belongs to the process. Where somebody else looks at the process as well (another thread,
        `poll`), that one may have taken in what has come: ask `done` again after a while.
        """
        return self._fd()

    def done(self) -> bool:
        """Whether it is; takes in what has come, and waits for nothing.

        Raises:
            RemoteError, TemplateDied, ProcessLost, ProcessStateError, OSError: as `Process.ready`.
        """
        return self._ask()


class Waiting(Own):
    """An fd that threads wait at. A subclass says what is done with what can be read."""

    #: In the child of a host that forked itself: the process that this belongs to.
    foreign = 0
    _ended = False  # nothing more will come
    #: Whether a thread sleeps on the fd, and what the others wait at.
    _polled = False
    _reading = False
    _gates: tuple[_thread.LockType, ...] = ()

    def _read_all(self) -> None:
        """Read what there is, and set `_ended` when nothing more will come."""
        raise NotImplementedError

    def look(self) -> None:
        """Take in what has arrived."""
        if self._ended:
            return
        self._check()
        with Host.lock:
            if not self._polled:
                self._read()
                return
            if not readable(self.fd, 0):
                return
            gate = self._gate()
        gate.acquire(timeout=1)  # the thread that sleeps on the fd reads it at once

    def until(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Read until `done()`; False at the deadline (of `time.monotonic`).

        Of several threads that wait, one sleeps on the fd, and wakes the others when it has read.
        """
        self.look()
        while True:
            leads = False
            gate = left = None
            try:
                with Host.lock:
                    if done() or self._ended:
                        return True
                    left = None if deadline is None else deadline - Clock.monotonic()
                    if left is not None and left <= 0:
                        return False
                    if self._polled:
                        gate = self._gate()
                    else:
                        leads = True  # first, since an interrupt may come at any line
                        self._polled = True
                if gate is not None:
                    gate.acquire(timeout=-1 if left is None else min(left, LONGEST))
                else:
                    readable(self.fd, left)
            finally:
                if leads:
                    self._hand_on()

    def _hand_on(self) -> None:
        """Read what woke the thread that slept on the fd, and let the others look."""
        with Host.lock:
            self._polled = False
            gates, self._gates = self._gates, ()
            if not self._ended:
                self._read()
        for gate in gates:
            gate.release()

    def _check(self) -> None:
        if self.foreign:
            raise ProcessStateError(
                f"this process was made by process {self.foreign}; only that one can watch it"
            )

    def _gate(self) -> _thread.LockType:
        """A lock that is released when the thread that sleeps on the fd has read."""
        gate = _thread.allocate_lock()
        gate.acquire()
        self._gates = (*self._gates, gate)
        return gate

    def _read(self) -> None:
        if self._reading:  # the reading goes on further up this thread's stack
            return
        try:
            self._reading = True
            self._read_all()
        finally:
            self._reading = False
