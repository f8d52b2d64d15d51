"""The owner's side of a status socket: what is known of one process, and how to wait for more.

Reads only when somebody asks, from any thread, and never blocks with a lock held.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import errno
import os
import select
import time

from earlyfork import _launch, _platform
from earlyfork import _wire as wire
from earlyfork._errors import ProcessLost, ProcessStateError, RemoteError, TemplateDied


class Watch:
    """One process as seen from its owner.

    `forker` is the watch of the process that forked this one: when this one never came to be, the
    reason is found there.
    """

    __slots__ = (
        "_buffer",
        "_ended",
        "_forker",
        "_is_sentinel",
        "_lock",
        "_owner",
        "_pid",
        "error",
        "fd",
        "refused",
        "returncode",
        "said",
        "starter",
        "started_by",
    )

    def __init__(self, fd: int, pid: int | None, forker: Watch | None) -> None:
        self.fd = fd
        self.returncode: int | None = None
        #: What code in the process raised, if it did.
        self.error: RemoteError | None = None
        #: Why the process was never made, if the kernel refused it.
        self.refused: OSError | None = None
        #: Tokens of `READY` that were answered.
        self.said: set[bytes] = set()
        #: For a launched root: the process that was exec'd, until it has been waited for.
        self.starter = -1
        self.started_by = ""
        self._pid = pid
        self._forker = forker
        self._is_sentinel = False
        self._ended = False  # nothing more will come
        self._buffer = b""
        self._lock = _thread.allocate_lock()
        self._owner = os.getpid()

    # -- reading ------------------------------------------------------------------------------

    def look(self) -> None:
        """Take in what has arrived."""
        if self._ended:
            return
        if self._owner != os.getpid():
            raise ProcessStateError(
                f"this process was made by process {self._owner}; only that one can watch it"
            )
        with self._lock:
            while not self._ended:
                if self.fd < 0:
                    raise ProcessStateError("this process is closed or was handed over")
                try:
                    data = os.read(self.fd, 1 << 16)
                except BlockingIOError:
                    return
                except ConnectionResetError:
                    data = b""
                if not data:
                    self._ended = True
                    self._end_of_starter()
                self._take(data)

    def _take(self, data: bytes) -> None:
        buffer = self._buffer + data
        while len(buffer) >= wire.FRAME.size:
            op, size = wire.FRAME.unpack_from(buffer)
            if len(buffer) < wire.FRAME.size + size:
                break
            payload = buffer[wire.FRAME.size : wire.FRAME.size + size]
            buffer = buffer[wire.FRAME.size + size :]
            if op == wire.PID:
                self._pid = int(payload)
                self._end_of_starter()
            elif op == wire.IS_READY:
                self.said.add(payload)
            elif op == wire.ERROR:
                name, summary, text = payload.decode("utf-8", "replace").split("\0", 2)
                self.error = RemoteError(summary, name, text)
            elif op == wire.EXIT:
                self.returncode = int(payload)
                self._ended = True
                if self._is_sentinel:
                    self._stay_readable()
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

    def sleep(self, deadline: float | None) -> bool:
        """Wait until something arrives; False at the deadline (of `time.monotonic`)."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        timeout = None
        if deadline is not None:
            timeout = max(0, int((deadline - time.monotonic()) * 1000 + 0.999))
        return bool(poll.poll(timeout)) or deadline is None

    # -- what is known ------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard: ended, never begun, or lost."""
        return self._ended

    @property
    def lost(self) -> bool:
        """Whether the end of the process can't be known any more."""
        return self._ended and self.returncode is None and self.refused is None

    def known_pid(self) -> int | None:
        """The pid if it has arrived."""
        return self._pid

    def pid(self) -> int:
        """The pid; waits for the template to say it.

        Raises:
            OSError: the process was refused by the kernel. TemplateDied: it never came to be.
        """
        while self._pid is None:
            self.look()
            if self._pid is None:
                if self._ended:
                    raise self.failure()
                self.sleep(None)
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
        died = TemplateDied(f"the process was never made: {self.why_forker_died()}")
        if self._forker is not None:
            died.__cause__ = self._forker.error
        return died

    def why_forker_died(self) -> str:
        """What is known of the death of the template this process should have come from."""
        root = self._forker
        if root is None:
            return f"the launched {self.started_by} is gone" if self.started_by else "it is gone"
        try:
            root.look()
        except ProcessStateError as error:
            return str(error)
        name = f"its template (pid {root._pid})" if root._pid else "its template"
        if root.error is not None:
            return f"{name} had failed: {root.error.args[0]}"
        if root.returncode is not None:
            return f"{name} had ended with status {root.returncode}"
        if root.started_by:
            return f"{name} was launched as {root.started_by}"
        return f"{name} is gone"

    def as_sentinel(self) -> int:
        """The fd, from now on readable only when the process is gone (or code in it raised)."""
        self.pid()  # takes this out of the socket
        self._is_sentinel = True
        if self._ended:
            self._stay_readable()
        return self.fd

    def _stay_readable(self) -> None:
        # The exit was read out of the socket, and the forker may not have closed its end yet.
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self.fd)
        with contextlib.suppress(OSError):  # it has
            sock.shutdown(_socket.SHUT_RD)
        sock.detach()

    def has_exited(self, timeout: float | None = 0) -> bool:
        """Whether the process has ended, waiting up to `timeout` seconds for it.

        Raises:
            ProcessLost, TemplateDied, OSError: it can't be known, or there never was a process.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.look()
            if self.returncode is not None:
                return True
            if self._ended:
                raise self.failure()
            if timeout == 0 or not self.sleep(deadline):
                return False

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

    def close(self) -> None:
        """Stop watching."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self._ended = True

    def take_fd(self) -> int:
        """Give the fd to the caller and stop watching."""
        fd, self.fd = self.fd, -1
        self._ended = True
        return fd

    def moved(self) -> Watch:
        """An ended watch, for a handle whose own one goes on without it."""
        other = Watch(-1, self._pid, None)
        other._ended = True
        return other

    def forget(self) -> None:
        """Let go of an fd number that somebody else closed and that may be another file now."""
        self.fd = -1
        self._ended = True

    def __del__(self) -> None:
        if self.starter > 0 and self._owner == os.getpid():
            _launch.leave(self.starter)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError as error:
                if error.errno != errno.EBADF:  # closed by somebody's closerange
                    raise
