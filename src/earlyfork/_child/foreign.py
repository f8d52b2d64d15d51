"""Close fds that strangers sent, and tell their kind: no worker may make its forker wait.

Who closes the last copy of a socket may have to wait for its peer (SO_LINGER). The same wait comes
when a message is read without its fds, since the kernel closes them then. A signal ends the wait.
So a clock runs here, which sends one.
"""

from __future__ import annotations

import _operator
import _signal
import _socket

from earlyfork._shared.posix import close as close_fd
from earlyfork._shared.sockets import CLOEXEC, DONTWAIT, PEEK, socket_on

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterable

#: How long the close of one fd may wait, in seconds.
TICK = 0.002
#: A handler that costs no frame of Python.
_do_nothing = _operator.is_


class Timer:
    """While this context is open, a wait that a signal can end takes one tick at most."""

    def __enter__(self) -> None:
        self._handler = _signal.signal(_signal.SIGALRM, _do_nothing)
        self._mask = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
        self._timer = _signal.setitimer(_signal.ITIMER_REAL, TICK, TICK)

    def __exit__(self, *_: object) -> None:
        _signal.setitimer(_signal.ITIMER_REAL, *self._timer)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        _signal.signal(_signal.SIGALRM, self._handler or _signal.SIG_DFL)


def close(fds: Iterable[int]) -> None:
    """Close fds that a stranger may hold as well."""
    with Timer():
        for fd in fds:
            try:
                close_fd(fd)
            except OSError:  # the wait was ended; or code that was sent here had closed it
                continue


def discard(sock: _socket.socket) -> None:
    """Read one message away, without the fds that came with it."""
    with Timer():
        sock.recv(1, DONTWAIT)


def holds_message(fd: int) -> bool:
    """Whether a message waits in a way up, be it an empty one. Nothing more can come after this."""
    sock = socket_on(fd)
    try:
        sock.shutdown(_socket.SHUT_RD)
        room = _socket.CMSG_SPACE(12)  # the sender's credentials, which an end of file has not
        data, ancillary, _, _ = sock.recvmsg(1, room, DONTWAIT | PEEK | CLOEXEC)
        return bool(data or ancillary)
    except OSError:  # nothing there
        return False
    finally:
        sock.detach()


def is_stream(fd: int) -> bool:
    """Whether an fd is a stream socket between processes of this system (AF_UNIX)."""
    try:
        sock = socket_on(fd)
    except OSError:
        return False
    try:
        return sock.family == _socket.AF_UNIX and sock.type == _socket.SOCK_STREAM
    finally:
        sock.detach()


def is_pidfd(fd: int) -> bool:
    """Whether an fd is a pidfd."""
    try:
        _signal.pidfd_send_signal(fd, 0)
    except PermissionError:  # of a process that this one may not signal
        return True
    except ProcessLookupError:  # of one that has ended
        return True
    except (OSError, AttributeError):
        return False
    return True
