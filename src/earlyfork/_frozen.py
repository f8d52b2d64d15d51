"""Frozen apps: are we one, what would have to be run again, and the marker that says serve.

The marker is how a re-executed binary learns that it shall be a template and not the app: an
environment variable that names two fds and the process that made them. It is believed only if all
of that is true, since a setuid app that obeyed it would obey its caller.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Mapping

MARKER = "EARLYFORK_SERVE"
#: Ends the marker of a launch with a directory of its own, which this process must then keep.
OWN_DIRECTORY = "own"
has_own_directory = False


def is_frozen() -> bool:
    """Whether this program is a binary of its own rather than a script that an interpreter runs."""
    return bool(getattr(sys, "frozen", False)) or _compiled() is not None


def _compiled() -> object | None:
    """Nuitka's `__compiled__`, where it compiled us or the main program."""
    main = sys.modules.get("__main__")
    return globals().get("__compiled__") or getattr(main, "__compiled__", None)


def binary() -> str:
    """The app's own binary."""
    compiled = _compiled()
    if compiled is None:
        return sys.executable
    return getattr(compiled, "process_exe", None) or os.readlink("/proc/self/exe")


def has_hooks() -> bool:
    """Whether a hook of ours runs in this app before its main program does (PyInstaller)."""
    return hasattr(sys, "_MEIPASS")


def owns_path() -> bool:
    """Whether `sys.path` belongs to the freezer: its import hooks hang on it, so nobody sets it."""
    return is_frozen()


def launch_environment(wanted: dict[str, str]) -> dict[str, str]:
    """`wanted` with what the bootloader needs to find its unpacked files again.

    Not where the new process shall have its own: PyInstaller's variable for that is obeyed.
    """
    if wants_own_directory(wanted):
        return plain_environment(wanted)
    return {**wanted, **LOADER_ENVIRONMENT}


def wants_own_directory(env: dict[str, str]) -> bool:
    """Whether a one-file app that is launched with this shall unpack itself once more."""
    return env.get("PYINSTALLER_RESET_ENVIRONMENT", "0") != "0" and hasattr(sys, "_MEIPASS")


def plain_environment(wanted: dict[str, str]) -> dict[str, str]:
    """`wanted` as a program that is no part of the app should see it.

    The bootloader's library path would make it load the app's libraries.
    """
    home = getattr(sys, "_MEIPASS", None)
    if home is None:
        return dict(wanted)
    env = {name: value for name, value in wanted.items() if not name.startswith("_PYI_")}
    original = env.pop("LD_LIBRARY_PATH_ORIG", None)
    if env.get("LD_LIBRARY_PATH", "").partition(":")[0] == home:  # else somebody chose it since
        del env["LD_LIBRARY_PATH"]
        if original is not None:
            env["LD_LIBRARY_PATH"] = original
    return env


def command_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a command that is no part of this program.

    In an app that PyInstaller froze, the library path points into the app, and the system's
    programs would load the app's libraries. Here it is what it was before the app started. In any
    other program this is a copy.

    Args:
        env: what to start from, instead of this process's current environment.
    """
    return plain_environment(dict(os.environ if env is None else env))


def kind() -> str:
    """What this program was frozen with, for people; empty if it is not."""
    if _compiled() is not None:
        return "Nuitka"
    if not is_frozen():
        return ""
    folder = getattr(sys, "_MEIPASS", None)
    if folder is None:
        return "cx_Freeze or the like (sys.frozen is set)"
    inside = os.path.dirname(os.path.abspath(sys.executable))
    one = not os.path.abspath(folder).startswith(inside + os.sep) and folder != inside
    return "PyInstaller, one file" if one else "PyInstaller, one directory"


def collect_by() -> str:
    """How a module gets into this app, with {} for its name; empty where it is not frozen."""
    if not is_frozen():
        return ""
    options = {"PyInstaller": "--hidden-import={0}", "Nuitka": "--include-module={0}"}
    other = "its freezer's option for that (cx_Freeze: --includes={0})"
    option = options.get(kind().partition(",")[0], other)
    return "{0} is not in this frozen app; build it with " + option


#: As it was at the first import: apps are told to restore LD_LIBRARY_PATH for external commands,
#: and a re-executed binary without it silently uses the system's libraries.
LOADER_ENVIRONMENT = (
    {
        name: value
        for name, value in os.environ.items()
        if name.startswith("_PYI_") or name in ("LD_LIBRARY_PATH", "LD_LIBRARY_PATH_ORIG")
    }
    if getattr(sys, "frozen", False)
    else {}
)


def marker() -> tuple[int, int] | None:
    """Take the marker out of the environment; the fds (comm, status) that it names, if it is true.

    A forged or stale marker is refused with a warning, and the app starts as it would without.
    """
    global has_own_directory
    text = os.environ.pop(MARKER, None)
    if text is None:
        return None
    problem = "it is malformed"
    text, _, own = text.partition("/")
    try:
        comm, status, pid = (int(part) for part in text.split(":"))
    except ValueError:
        pass  # the warning below says so
    else:
        problem = _doubt(comm, pid) or _doubt(status, pid)
        if not problem:
            has_own_directory = own == OWN_DIRECTORY
            return comm, status
    from earlyfork import _platform

    _platform.warn(
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
        # No /proc (a chroot): with equal ids only file capabilities could have raised rights, and
        # these are then found nowhere else either.
        return not os.path.isdir("/proc/self") and _libc_secure()
    except OSError:
        return True


def _libc_secure() -> bool:
    """AT_SECURE by libc, for where /proc is missing; unreadable counts as secure."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None).getauxval(23))
    except (ImportError, OSError, AttributeError):  # pragma: no cover - no ctypes, another libc
        return True
