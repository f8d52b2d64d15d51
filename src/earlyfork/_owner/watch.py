"""The owner's side of a status socket: what is known of one process, and its end.

How threads wait at that socket is in `waiting`.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select

from earlyfork._ground import platform, starters
from earlyfork._ground.errors import ProcessLost, ProcessStateError, RemoteError, TemplateDied
from earlyfork._owner.waiting import Host, Waiting
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock, close, own, read
from earlyfork._shared.sockets import hung_up, stream_on

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

_close = close  # in the class below that is another
#: `select.epoll`, which gevent takes away; None where there is none.
new_epoll: type[select.epoll] | None = own(select, "epoll")


class Watch(Waiting):
    """One process as seen from its owner.

    `forker` is the watch of the process that forked this one. When this one never came to be, the
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
    #: Of a launched root: the pid of the process that was executed, until it has been waited for;
    #: and what was executed, for people.
    starter = -1
    started_by = ""
    #: Whether a child of this template was lost: then the template itself is about to be gone.
    suspect = False
    #: The far end of a linked process's second line: when nobody holds a copy any more, the kernel
    #: kills that process. So it is kept until that is known to be dead, even if it is lost.
    line = -1
    _buffer = b""
    _is_sentinel = False
    _epoll: select.epoll | None = None

    def __init__(self, fd: int, pid: int | None, forker: Watch | None) -> None:
        self.fd = fd  # not by way of the base: making a process must cost little
        self._pid = pid
        self._forker = forker

    # -- reading ------------------------------------------------------------------------------

    def _read_all(self) -> None:
        while not self._ended:
            try:
                data = read(self.fd, 1 << 16)
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
            if op not in TOLD:
                raise wire.ProtocolError(f"op {op} is none that a status socket carries")
            TOLD[op](self, payload)
        self._buffer = buffer

    def _told_pid(self, payload: bytes) -> None:
        self._pid = payloads.unpack_number(payload)
        self._end_of_starter()

    def _told_exit(self, payload: bytes) -> None:
        self.returncode = payloads.unpack_number(payload)
        self._ended = True
        self.drop_line()
        if self._is_sentinel:  # pragma: no cover - systems without epoll
            self._stay_readable()

    def _told_refusal(self, payload: bytes) -> None:
        number = payloads.unpack_number(payload)
        why = os.strerror(number) if self.error is None else self.error.args[0]
        self.refused = OSError(number, f"the template could not fork a process: {why}")
        self.refused.__cause__ = self.error
        self._ended = True

    # The next two come from the process itself, and the code in it may say anything.

    def _told_ready(self, payload: bytes) -> None:
        with contextlib.suppress(wire.ProtocolError):
            self.said = payloads.unpack_number(payload)

    def _told_error(self, payload: bytes) -> None:
        type_name, summary, text = payloads.unpack_error(payload)
        self.error = RemoteError(summary, type_name, text)

    def _end_of_starter(self) -> None:
        """Wait for the process that was executed, which ends when its fork begins to serve."""
        root = self._forker or self
        if root.starter > 0:
            starter, root.starter = root.starter, -1
            code = starters.collect(starter, block=True)
            if code:
                root.started_by += f", which ended with status {code} before it could serve"

    # -- what is known ------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what has arrived, unless nothing more can come. Waits for nothing."""
        if not self._ended and not self.foreign:
            self.look()

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
            close(line)

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
            OSError: the kernel, or the template, refused to make the process.
            TemplateDied: the process never came to be.
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
        """What is known of the death of this template; waits a second for news of it to arrive."""
        with contextlib.suppress(ProcessStateError):
            self.until(lambda: self.error is not None, Clock.monotonic() + 1)
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
            deadline = None if timeout is None else Clock.monotonic() + timeout
            self.until(lambda: False, deadline)
        if self.returncode is not None:
            return True
        if self._ended:
            raise self.failure()
        return False

    def as_sentinel(self) -> int:
        """An fd that becomes readable when the process is gone."""
        if new_epoll is not None:
            # Asked for nothing, it still tells when the forker closes the socket, and only that.
            with Host.lock:
                if self._epoll is None:
                    self._epoll = new_epoll()
                    self._epoll.register(self.fd, 0)
                return self._epoll.fileno()
        self.pid()  # takes this out of the socket, so that only the end (or an error) is left
        self._is_sentinel = True
        if self._ended:
            self._stay_readable()
        return self.fd

    def _stay_readable(self) -> None:  # pragma: no cover - systems without epoll
        # The exit was read out of the socket, and the forker may not have closed its end yet.
        sock = stream_on(self.fd)
        with contextlib.suppress(OSError):  # it has
            sock.shutdown(_socket.SHUT_RD)
        sock.detach()

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; False if it is gone."""
        return platform.send_signal(self.pid(), number, self._unreaped)

    def _unreaped(self) -> bool:
        # A forker tells the exit before it reaps. So while no exit (and no end of a root's own
        # socket) has arrived, the pid has not been given to anybody else.
        self.look()
        if self.lost:
            raise self.failure()
        return not self._ended

    # -- the fd -------------------------------------------------------------------------------

    def own_fds(self) -> set[int]:
        """All fds that this object owns: who looks for leaks passes over them."""
        found = {self.fd, self.line}
        if self._epoll is not None:
            found.add(self._epoll.fileno())
        return found

    def take_fd(self) -> int:
        """Give the fd to the caller and stop watching."""
        fd, self.fd = self.fd, -1
        self._ended = True
        return fd

    def disown(self) -> None:
        """Forget fds that somebody else closed."""
        self.take_fd()
        self.line = -1

    def close(self) -> None:
        """Stop watching."""
        starter, self.starter = self.starter, -1
        if starter > 0 and not self.foreign:
            starters.leave(starter)
        if self._epoll is not None:
            self._epoll.close()
        self.drop_line()
        fd = self.take_fd()
        if fd >= 0:
            close(fd)

    def __del__(self, _close: object = _close) -> None:
        # At the interpreter's end the modules may be gone: what is needed is bound here.
        assert callable(_close)
        if self.starter > 0 and not self.foreign and starters is not None:
            starters.leave(self.starter)
        for fd in (self.line, self.take_fd()):
            if fd >= 0:
                _close(fd)


#: What each frame on a status socket does, by its op.
TOLD: dict[int, Callable[[Watch, bytes], None]] = {
    wire.PID: Watch._told_pid,
    wire.EXIT: Watch._told_exit,
    wire.NO_FORK: Watch._told_refusal,
    wire.IS_READY: Watch._told_ready,
    wire.ERROR: Watch._told_error,
}
