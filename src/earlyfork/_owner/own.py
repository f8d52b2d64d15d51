"""An fd with an owner, from the moment it exists: closed when its `Own` goes, if it is still there.

A signal handler may raise between any two steps of Python (Ctrl-C, a timeout). What is left then is
what objects hold, so each fd is in one at once: `make` makes it and owns it in one step, in C.
Somebody else may close all fds of this process, and open others. So an owner knows its own: it
reads, writes and closes nothing that took the number.

Without the part in C that step is one as well, a chain of functions of the interpreter.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import time
import weakref
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING

from earlyfork._ground import platform, stack
from earlyfork._ground.errors import ProcessStateError
from earlyfork._ground.fds import above_streams
from earlyfork._shared.posix import close, read
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import STREAM, comm_ends, pair, socket_on, status_ends

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

#: The clock of which a process's start is told.
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since the boot."""
    return time.clock_gettime(_BOOT)


def _identity(fd: int) -> int:
    """A number that no other open file has; 0 if it is not open."""
    try:
        found = os.fstat(fd)
    except (OSError, OverflowError) as error:  # also -1
        stack.pass_on(error)
        return 0
    return (found.st_dev << 40 ^ found.st_ino) & 0xFFFF_FFFF_FFFF_FFFF


def _close_file(
    fd: int,
    file: int,
    _reference: object = None,
    # At the interpreter's end the modules may be gone: what is needed is bound here.
    _now: Callable[[int], int] = _identity,
    _close: Callable[[int], None] = close,
) -> None:
    """Close an fd, if it is still of that file."""
    if file in (0, _now(fd)):
        _close(fd)


class OwnInPython:
    """The same without the part in C (src/quick/own.c)."""

    #: The number, or -1.
    fd: int = -1
    #: When it was owned, in seconds since the boot.
    born: float = 0.0
    _file = 0  # not known yet
    #: An exception may come at the beginning of `__del__`; what this calls then does its work.
    _second: object = None

    def make(self, function: Callable[..., int], *arguments: object) -> None:
        """Call a function of C that makes an fd, and own that.

        Raises:
            OSError: what the function raises, or no fd to be had outside 0 to 2.
        """
        # No step of Python lies between the call and the attribute.
        any(map(setattr, (self,), ("fd",), starmap(function, (arguments,))))
        if self.fd < 3:
            self.fd = above_streams(self.fd)
        self._file = _identity(self.fd)
        self._second = weakref.ref(self, partial(_close_file, self.fd, self._file))
        self.born = boot_time()

    def is_own(self) -> bool:
        """Whether the number is still this fd's."""
        return self.fd >= 0 and self._file in (0, _identity(self.fd))

    def release(self) -> int:
        """Give the fd up to the caller; -1 if it was lost."""
        fd = self.fd if self.is_own() else -1
        self._second = None
        self.fd = -1
        return fd

    def close(self) -> None:
        """Close the fd, if it is still this one."""
        if self.fd >= 0:
            _close_file(self.fd, self._file)
        self.fd, self._second = -1, None

    def read(self, into: list[bytes]) -> bool | None:
        """Add what a socket that does not block has to say to a list.

        False at its end; None if it has nothing to say yet.

        Raises:
            OSError: the number is another file's by now.
        """
        if not self.is_own():
            raise OSError(9, os.strerror(9))
        try:
            any(map(into.append, map(read, (self.fd,), (1 << 16,))))
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return False
        if not into[-1]:
            into.pop()
            return False
        return True

    def __del__(self, _close: Callable[[int, int], None] = _close_file) -> None:
        if self.fd >= 0:
            _close(self.fd, self._file)


if TYPE_CHECKING or quick is None:
    Own = OwnInPython
    identity = _identity
else:
    Own = quick.own_class()
    identity = quick.identity


class Owns(list[Own]):
    """Several of them, which can be referred to weakly."""


def closed_by_program(what: str) -> ProcessStateError:
    """The error for an fd whose number is another file's by now, or nobody's."""
    return ProcessStateError(
        f"{what} was closed behind earlyfork's back by this program (by os.closerange() or "
        "os.close()?), so nothing more can be said or known here; make new processes with new()"
    )


def owned(function: Callable[..., int], *arguments: object) -> Own:
    """The owner of what a function of C makes; see `Own.make`."""
    own = Own()
    own.make(function, *arguments)
    return own


def pairs(comm: Own, watch: Own, far_comm: Own, far_status: Own) -> None:
    """Make the sockets of a new process, and own them.

    Raises:
        OSError: no fd to be had here.
    """
    if quick is not None:
        quick.pairs(comm, watch, far_comm, far_status)
        return
    near, far = status_ends()
    watch.make(near.detach)
    far_status.make(far.detach)
    near, far = comm_ends()
    comm.make(near.detach)
    far_comm.make(far.detach)


def status_pair(watch: Own, far: Own) -> None:
    """Make the status socket alone, and own its ends.

    Raises:
        OSError: no fd to be had here.
    """
    if quick is not None:
        quick.status_pair(watch, far)
        return
    near, end = status_ends()
    watch.make(near.detach)
    far.make(end.detach)


def socket_of(socket_class: type[socket.socket], own: Own) -> socket.socket:
    """A stream socket of what is owned, which it owns from here on."""
    if quick is not None:
        made: socket.socket = quick.open_socket(socket_class, own)
        return made
    if socket_class.__base__ is not _socket.socket or socket_class.__module__ != "socket":
        return socket_class(_socket.AF_UNIX, STREAM, 0, own.release())  # gevent's
    sock = socket_class.__new__(socket_class)
    # What its __init__ does. Between these two lines the fd has two owners; the one that comes
    # second sees that it is gone.
    _socket.socket.__init__(sock, _socket.AF_UNIX, STREAM, 0, own.fd)
    own.release()
    sock._io_refs = 0  # type: ignore[attr-defined]
    sock._closed = False  # type: ignore[attr-defined]
    return sock


class Lent(_socket.socket):
    """A socket that does not own its fd: nothing closes it but `close`, or says that it is open."""

    __slots__ = ()
    __del__ = object.__init__  # does nothing, and no step of Python


def lent(own: Own) -> _socket.socket:
    """A stream socket to use what somebody else owns."""
    return socket_on(own.fd, _socket.AF_UNIX, STREAM, 0, kind_of=Lent)


def end_of(sock: _socket.socket) -> Own:
    """The owner of what was a socket's."""
    return owned(sock.detach)


def stream_ends() -> list[Own]:
    """The two ends of a stream socketpair.

    Raises:
        OSError: no fd to be had here.
    """
    return [*map(end_of, pair(STREAM))]


def open_pidfd(into: Own, pid: int) -> None:
    """Own a pidfd, where that can be had."""
    opens = platform.pidfd_open()
    if opens is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            into.make(opens, pid)


def open_directory(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Own:
    """A directory, with no more right than to go there.

    Raises:
        OSError: there is none of that name.
    """
    return owned(os.open, path, getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_CLOEXEC)
