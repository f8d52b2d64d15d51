"""Let go of what strangers sent, and tell what kind it is: no worker may make its forker wait.

To close the last copy of a socket may wait for its peer (SO_LINGER), and the kernel closes what
came with a message when that is read without it. A signal ends such a wait, so a clock runs here.
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

#: How long one close may wait, in seconds.
TICK = 0.002
#: A handler that costs no frame of Python.
_do_nothing = _operator.is_


class Clock:
    """While this runs, nothing waits longer than a tick where a signal ends the wait."""

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
    with Clock():
        for fd in fds:
            try:
                close_fd(fd)
            except OSError:  # the wait was ended; or code that was sent here had closed it
                continue


def discard(sock: _socket.socket) -> None:
    """Read one message away, without the fds that came with it."""
    with Clock():
        sock.recv(1, DONTWAIT)


def holds_message(fd: int) -> bool:
    """Whether a message waits in a way up, an empty one included; nothing more can come then."""
    sock = socket_on(fd)
    try:
        sock.shutdown(_socket.SHUT_RD)
        room = _socket.CMSG_SPACE(12)  # for the sender's name, which an end of file has not
        data, ancillary, _, _ = sock.recvmsg(1, room, DONTWAIT | PEEK | CLOEXEC)
        return bool(data or ancillary)
    except OSError:  # nothing there
        return False
    finally:
        sock.detach()


def is_stream(fd: int) -> bool:
    """Whether it is a stream socket between processes of this system."""
    try:
        sock = socket_on(fd)
    except OSError:
        return False
    try:
        return sock.family == _socket.AF_UNIX and sock.type == _socket.SOCK_STREAM
    finally:
        sock.detach()


def is_pidfd(fd: int) -> bool:
    """Whether it is a pidfd."""
    try:
        _signal.pidfd_send_signal(fd, 0)
    except PermissionError:  # of a process that this one may not signal
        return True
    except ProcessLookupError:  # of one that has ended
        return True
    except (OSError, AttributeError):
        return False
    return True
