"""The marker: how a binary that is executed again learns that it shall serve, and not be the app.

The marker is an environment variable that names two fds and the process that made them. It is
believed only if all of that is true: a setuid app that obeyed any marker would obey its caller.
"""

from __future__ import annotations

import os

MARKER = "EARLYFORK_SERVE"
#: A marker ends so if the launched app unpacks itself into a directory of its own, which the new
#: process must then keep.
OWN_DIRECTORY = "/own"


def make(comm: int, status: int, *, own_directory: bool) -> str:
    """The marker that tells a process to serve these sockets, which it inherits."""
    return f"{comm}:{status}:{os.getpid()}{OWN_DIRECTORY if own_directory else ''}"


def take() -> tuple[int, int, bool] | None:
    """Take the marker out of the environment: comm, status, and whether to keep a directory.

    None if there is no marker, or one that is not true. Such a forged or stale marker is refused
    with a warning, and the app starts as it would without it.
    """
    text = os.environ.pop(MARKER, None)
    if text is None:
        return None
    numbers = text.removesuffix(OWN_DIRECTORY)
    try:
        comm, status, pid = (int(part) for part in numbers.split(":"))
    except ValueError:
        problem = "it is malformed"
    else:
        problem = _doubt(comm, pid) or _doubt(status, pid)
        if not problem:
            return comm, status, numbers != text
    from earlyfork._ground.stack import warn

    warn(
        f"the environment variable {MARKER} is ignored: {problem}. It is earlyfork's own and "
        "should not be set by anybody else"
    )
    return None


def _doubt(fd: int, pid: int) -> str:
    """Why this fd can't be believed to come from process `pid`; empty if it can."""
    import _socket
    import struct

    if is_privileged():
        return "this process has rights that its caller may not have"
    try:
        sock = _socket.socket(fileno=os.dup(fd))
    except OSError:
        return f"fd {fd} is no open socket"
    try:
        if sock.family != _socket.AF_UNIX:
            return f"fd {fd} is no unix socket"
        sock.getpeername()
        raw = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        peer, uid, _ = struct.unpack("3i", raw)
    except (OSError, AttributeError):
        return f"the other end of fd {fd} can't be told"
    finally:
        sock.close()
    if uid != os.geteuid():
        return f"fd {fd} comes from user {uid}"
    if peer != pid:
        return f"fd {fd} comes from process {peer}, not {pid}"
    return ""


def is_privileged() -> bool:
    """Whether this program was given rights at its start (setuid, capabilities)."""
    if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
        return True
    import struct

    try:
        with open("/proc/self/auxv", "rb") as file:
            words = struct.iter_unpack("NN", file.read())
            return any(key == 23 and value for key, value in words)  # AT_SECURE
    except FileNotFoundError:
        # No /proc (a chroot). With equal ids only file capabilities can have raised rights, and of
        # these nobody but libc can tell then.
        return not os.path.isdir("/proc/self") and _libc_secure()
    except OSError:
        return True


def _libc_secure() -> bool:
    """What libc says of AT_SECURE, where /proc is missing; True if it can't be asked."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).getauxval(23))
    except (ImportError, OSError, AttributeError):  # pragma: no cover - no ctypes, another libc
        return True
