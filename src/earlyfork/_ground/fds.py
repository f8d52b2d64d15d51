"""The fds of this process: which are open, what they are, and keeping them out of 0 to 2."""

from __future__ import annotations

import os
import stat
from posix import close

from earlyfork._ground import stack


def open_fds() -> list[int]:
    """All open fds of this process above the standard streams."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            listed = os.listdir(folder)
        except OSError:
            continue
        fds = [int(name) for name in listed]
        break
    else:
        fds = list(range(3, min(os.sysconf("SC_OPEN_MAX"), 4096)))
    found = []
    for fd in sorted(fds):
        if fd > 2:
            try:
                os.fstat(fd)
            except OSError:  # the one that listed them, or a number that is not open
                continue
            found.append(fd)
    return found


def is_open(fd: int) -> bool:
    """Whether a number is that of an open file."""
    try:
        os.fstat(fd)
    except OSError as error:
        stack.pass_on(error)
        return False
    return True


def above_streams(fd: int) -> int:
    """The same fd, moved to 3 or higher if it is one of 0 to 2; owns what it is given."""
    if fd > 2:
        return fd
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        close(fd)


def target(fd: int) -> str:
    """What the system calls an open file: its path, or `socket:[4711]`; empty without /proc."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc
        return ""


def listens(fd: int) -> bool:
    """Whether it is a listening socket.

    Raises:
        OSError: it is not open.
    """
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    import _socket

    mode = os.get_blocking(fd)
    probe = _socket.socket(fileno=fd)  # not a duplicate: there may be no fd left for one
    try:
        return bool(probe.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
    except OSError:  # pragma: no cover - no kind of socket on Linux refuses the question
        return False
    finally:
        os.set_blocking(probe.detach(), mode)  # which a default timeout has changed


def may_stay(fd: int) -> bool:
    """Whether an fd does no harm in a snapshot: a file, a device, or a listening socket."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode) or listens(fd)
