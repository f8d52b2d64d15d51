"""Frozen apps: whether this is one, what would have to be executed again, with what environment."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """Whether PyInstaller made this app: then our runtime hook runs before its main program."""
    return hasattr(sys, "_MEIPASS")


def owns_path() -> bool:
    """Whether `sys.path` belongs to the freezer: its import hooks hang on it, so nobody sets it."""
    return is_frozen()


def launch_environment(wanted: dict[str, str]) -> dict[str, str]:
    """`wanted`, with what the bootloader needs to find the app's unpacked files again.

    A process that shall unpack files of its own does not get that: PyInstaller's variable for it is
    obeyed.
    """
    if wants_own_directory(wanted):
        return plain_environment(wanted)
    return {**wanted, **LOADER_ENVIRONMENT}


def wants_own_directory(env: dict[str, str]) -> bool:
    """Whether a one-file app shall unpack itself once more when launched with this environment."""
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
    """How a module gets into this app, with {0} for its name; empty if this is no frozen app."""
    if not is_frozen():
        return ""
    options = {"PyInstaller": "--hidden-import={0}", "Nuitka": "--include-module={0}"}
    other = "its freezer's option for that (cx_Freeze: --includes={0})"
    option = options.get(kind().partition(",")[0], other)
    return "{0} is not in this frozen app; build it with " + option


#: The bootloader's variables as they were at the first import. Apps are told to restore
#: LD_LIBRARY_PATH before they run external commands; the app's own binary, executed without it,
#: silently uses the system's libraries.
LOADER_ENVIRONMENT = (
    {
        name: value
        for name, value in os.environ.items()
        if name.startswith("_PYI_") or name in ("LD_LIBRARY_PATH", "LD_LIBRARY_PATH_ORIG")
    }
    if getattr(sys, "frozen", False)
    else {}
)
