"""The owner's side of a status socket: what is known of one process, and how to wait for more.

Reads only when somebody asks, from any thread, and never blocks with a lock held.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import os
import select
import time

from earlyfork import _launch, _platform
from earlyfork import _wire as wire
from earlyfork._errors import ProcessLost, ProcessStateError, RemoteError, TemplateDied
from earlyfork._guard import hung_up

_close = os.close
#: What poll and locks take as a timeout, in seconds; whoever waits longer waits again.
LONGEST = 1e6


TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable


def _readable(fd: int, seconds: float | None) -> bool:
    """Whether there is something to read, waiting for it at most so long (or LONGEST)."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if seconds is None:
        return bool(poll.poll())
    return bool(poll.poll(max(0, int(min(seconds, LONGEST) * 1000 + 0.999))))


class _Host:
    """What must be made anew in the child of a host that forks itself."""

    #: Reentrant, since a signal handler or the collector may look at a watch at any moment.
    lock = _thread.RLock()


def after_fork_in_child() -> None:
    """Another thread may have held the lock when the host forked."""
    _Host.lock = _thread.RLock()


class Watch:
    """One process as seen from its owner.

    `forker` is the watch of the process that forked this one: when this one never came to be, the
    reason is found there.
    """

    # Defaults on the class, since making a process must cost little.
    returncode: int | None = None
    #: What code in the process raised, if it did.
    error: RemoteError | None = None
    #: Why the process was never made, if the kernel refused it.
    refused: OSError | None = None
    #: The last token of READY that was answered.
    said = 0
    #: For a launched root: the process that was exec'd, until it has been waited for, and what.
    starter = -1
    started_by = ""
    #: Whether a child of this template was lost: then the template itself is about to be gone.
    suspect = False
    #: In the child of a host that forked itself: the process that this watch belongs to.
    foreign = 0
    #: The far end of a linked process's second line: when nobody holds a copy any more, the kernel
    #: kills that process. So it is kept until that is known to be dead, even if it is lost.
    line = -1
    _ended = False  # nothing more will come
    _buffer = b""
    _is_sentinel = False
    #: Whether a thread sleeps on the fd, and what the others wait at.
    _polled = False
    _reading = False
    _gates: tuple[_thread.LockType, ...] = ()
    _epoll: select.epoll | None = None

    def __init__(self, fd: int, pid: int | None, forker: Watch | None) -> None:
        self.fd = fd
        self._pid = pid
        self._forker = forker

    # -- reading ------------------------------------------------------------------------------

    def look(self) -> None:
        """Take in what has arrived."""
        if self._ended:
            return
        self._check()
        with _Host.lock:
            if not self._polled:
                self._read()
                return
            if not _readable(self.fd, 0):
                return
            gate = self._gate()
        gate.acquire(timeout=1)  # whoever sleeps on the fd reads it at once

    def until(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Read until `done()`; False at the deadline (of `time.monotonic`).

        Of several threads that wait, one sleeps on the fd, and wakes the others when it has read.
        """
        while True:
            self.look()
            leads = False
            gate = left = None
            try:
                with _Host.lock:
                    if done() or self._ended:
                        return True
                    left = None if deadline is None else deadline - time.monotonic()
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
                    _readable(self.fd, left)
            finally:
                if leads:
                    self._hand_on()

    def _hand_on(self) -> None:
        """Read what woke the thread that slept on the fd, and let the others look."""
        with _Host.lock:
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
        if self._reading:  # further up this thread's stack
            return
        self._reading = True
        try:
            self._read_all()
        finally:
            self._reading = False

    def _read_all(self) -> None:
        while not self._ended:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._ended = True
                self._end_of_starter()
                if self._forker is not None and self.returncode is None:
                    self._forker.suspect = True
            self._take(self._buffer + data)

    def _take(self, buffer: bytes) -> None:
        while len(buffer) >= wire.FRAME.size:
            op, size = wire.FRAME.unpack_from(buffer)
            end = wire.FRAME.size + size
            if len(buffer) < end:
                break
            payload, buffer = buffer[wire.FRAME.size : end], buffer[end:]
            if op == wire.EXIT:
                self.returncode = int(payload)
                self._ended = True
                self.drop_line()
                if self._is_sentinel:  # pragma: no cover - systems without epoll
                    self._stay_readable()
            elif op == wire.PID:
                self._pid = int(payload)
                self._end_of_starter()
            # These two the process itself has said, and the code in it may have said anything.
            elif op == wire.IS_READY:
                if payload.isdigit() and len(payload) < 20:
                    self.said = int(payload)
            elif op == wire.ERROR:
                words = payload.decode("utf-8", "replace").split("\0", 2)
                name, summary, text = (*words, "", "")[:3]
                self.error = RemoteError(summary, name, text)
            elif op == wire.NO_FORK:
                number = int(payload)
                self.refused = OSError(
                    number, f"the template could not fork a process: {os.strerror(number)}"
                )
                self._ended = True
            else:
                raise wire.ProtocolError(f"op {op} is none that a status socket carries")
        self._buffer = buffer

    def _end_of_starter(self) -> None:
        """Wait for the process that was exec'd, which ends when its fork begins to serve."""
        root = self._forker or self
        if root.starter > 0:
            starter, root.starter = root.starter, -1
            code = _launch.collect(starter, block=True)
            if code:
                root.started_by += f", which ended with status {code} before it could serve"

    # -- what is known ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard: ended, never begun, lost or closed."""
        return self._ended

    def may_live(self) -> bool:
        """Whether a linked process may need this watch: closing it would be the process's end."""
        if self._ended and self.line >= 0 and hung_up(self.line):
            self.drop_line()
        return not self._ended or self.line >= 0

    def drop_line(self) -> None:
        """Let go of the second line."""
        line, self.line = self.line, -1
        if line >= 0:
            os.close(line)

    @property
    def lost(self) -> bool:
        """Whether the end of the process can't be known any more."""
        return self._ended and self.returncode is None and self.refused is None and self.fd >= 0

    def known_pid(self) -> int | None:
        """The pid if it has arrived."""
        return self._pid

    def pid(self) -> int:
        """The pid; waits for the template to say it.

        Raises:
            OSError: the process was refused by the kernel. TemplateDied: it never came to be.
        """
        if self._pid is None:
            self.until(lambda: self._pid is not None, None)
            if self._pid is None:
                raise self.failure()
        return self._pid

    def failure(self) -> Exception:
        """Why nothing more will be heard of a process that has no exit status."""
        if self.refused is not None:
            return self.refused
        if self._pid is not None:
            lost = ProcessLost(
                f"nobody knows how process {self._pid} ended or will end: its template was killed",
                self._pid,
            )
            lost.__cause__ = self.error
            return lost
        if self._forker is None:
            return TemplateDied(f"the process was never made: {self.epitaph()}")
        died = TemplateDied(f"the process was never made: {self._forker.epitaph()}")
        died.__cause__ = self._forker.error
        return died

    def epitaph(self) -> str:
        """What is known of the death of this template; gives the news of it a second to arrive."""
        with contextlib.suppress(ProcessStateError):
            self.until(lambda: self.error is not None, time.monotonic() + 1)
        name = f"its template (pid {self._pid})" if self._pid else "its template"
        if self.refused is not None:
            return f"{name} was never made either: {self.refused.strerror}"
        if self.error is not None:
            return f"{name} had failed: {self.error.args[0]}"
        if self.returncode is not None:
            return f"{name} had ended with status {self.returncode}"
        if self.started_by:
            return f"{name}, launched as {self.started_by}, is gone"
        return f"{name} is gone"

    def has_exited(self, timeout: float | None = 0) -> bool:
        """Whether the process has ended, waiting up to `timeout` seconds for it.

        Raises:
            ProcessLost, TemplateDied, OSError: it can't be known, or there never was a process.
        """
        self.look()
        if not self._ended and timeout != 0:
            deadline = None if timeout is None else time.monotonic() + timeout
            self.until(lambda: False, deadline)
        if self.returncode is not None:
            return True
        if self._ended:
            raise self.failure()
        return False

    def as_sentinel(self) -> int:
        """An fd that becomes readable when the process is gone."""
        if hasattr(select, "epoll"):
            # Asked for nothing, it still tells when the forker closes the socket, and only that.
            with _Host.lock:
                if self._epoll is None:
                    self._epoll = select.epoll()
                    self._epoll.register(self.fd, 0)
                return self._epoll.fileno()
        self.pid()  # takes this out of the socket, so that only the end (or an error) is left
        self._is_sentinel = True
        if self._ended:
            self._stay_readable()
        return self.fd

    def _stay_readable(self) -> None:  # pragma: no cover - systems without epoll
        # The exit was read out of the socket, and the forker may not have closed its end yet.
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self.fd)
        with contextlib.suppress(OSError):  # it has
            sock.shutdown(_socket.SHUT_RD)
        sock.detach()

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; False if it is gone."""
        return _platform.send_signal(self.pid(), number, self._unreaped)

    def _unreaped(self) -> bool:
        # A forker tells the exit before it reaps. So while no exit (and no end of a root's own
        # socket) has arrived, the pid has not been given to anybody else.
        self.look()
        if self.lost:
            raise self.failure()
        return not self._ended

    # -- the fd -------------------------------------------------------------------------------

    def own_fds(self) -> set[int]:
        """Fds that are this object's, and nobody's leak."""
        found = {self.fd, self.line}
        if self._epoll is not None:
            found.add(self._epoll.fileno())
        return found

    def take_fd(self) -> int:
        """Give the fd to the caller and stop watching."""
        fd, self.fd = self.fd, -1
        self._ended = True
        return fd

    def close(self) -> None:
        """Stop watching."""
        starter, self.starter = self.starter, -1
        if starter > 0 and not self.foreign:
            _launch.leave(starter)
        if self._epoll is not None:
            self._epoll.close()
        self.drop_line()
        fd = self.take_fd()
        if fd >= 0:
            os.close(fd)

    def __del__(self, _close: object = _close) -> None:
        # At the interpreter's end the modules may be gone: what is needed is bound here.
        assert callable(_close)
        if self.starter > 0 and not self.foreign and _launch is not None:
            _launch.leave(self.starter)
        for fd in (self.line, self.take_fd()):
            if fd >= 0:
                _close(fd)
