"""Which program to launch when a new interpreter is needed, and why not the others.

The order of the candidates was right for every host that it was tried on: command lines, venvs,
renamed and copied binaries, `exec -a`, ld.so, C programs that embed Python, uWSGI, frozen apps.
"""

from __future__ import annotations

import os
import sys

from earlyfork._ground import frozen
from earlyfork._ground.errors import LaunchError

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterator


class Choice:
    """What would be launched, how it was found, and what was tried before it."""

    __slots__ = ("frozen", "how", "path", "rejected")

    def __init__(self, path: str, how: str, *, frozen: bool = False) -> None:
        self.path = path
        self.how = how
        self.frozen = frozen
        self.rejected: list[tuple[str, str]] = []

    def __str__(self) -> str:
        return f"{self.path} ({self.how})"


def choose(given: str | None, override: str | None) -> Choice:
    """The program to launch: what was named, or else the first candidate that will do.

    Args:
        given: the path that this one call names.
        override: the path that `set_executable` or EARLYFORK_PYTHON has named.

    Raises:
        LaunchError: no candidate will do; the text lists what was tried.
    """
    if given is not None:
        return Choice(given, "executable= of this call", frozen=is_own_binary(given))
    if override is not None:
        return Choice(
            override, "set_executable() or EARLYFORK_PYTHON", frozen=is_own_binary(override)
        )
    if frozen.is_frozen():
        return Choice(frozen.binary(), "the frozen app's own binary", frozen=True)
    rejected: list[tuple[str, str]] = []
    for path, how in _candidates():
        problem = _problem(path, how)
        if not problem:
            choice = Choice(path, how)
            choice.rejected = rejected
            return choice
        rejected.append((path, f"{how}: {problem}"))
    tried = "; ".join(f"{path or repr(path)}: {why}" for path, why in rejected)
    raise LaunchError(
        f"no interpreter: {tried}; set EARLYFORK_PYTHON or call earlyfork.set_executable()"
    )


def passed_over(choice: Choice | None) -> list[tuple[str, str, str]]:
    """All candidates but the chosen one: path, where it was found, why it is not launched.

    For people who want to know. This takes longer than to choose.
    """
    others: dict[str, tuple[str, str, str]] = {}
    for path, how in _candidates():
        if choice is not None and path == choice.path:
            continue
        problem = _problem(path, how)
        if not problem:
            problem = "this is a frozen app" if frozen.is_frozen() else "another one comes first"
        others.setdefault(path, (path, how, problem))
    return list(others.values())


def is_own_binary(path: str) -> bool:
    """Whether this is the frozen app that runs here, which is launched by a marker."""
    if not frozen.is_frozen():
        return False
    try:
        return os.path.samefile(path, frozen.binary())
    except OSError:
        return False


def _candidates() -> Iterator[tuple[str, str]]:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = (f"python{version}", "python3", "python")
    yield sys.executable or "", "sys.executable"
    if sys.prefix != sys.base_prefix:
        for name in names:
            yield os.path.join(sys.exec_prefix, "bin", name), "this venv's interpreter"
    base = getattr(sys, "_base_executable", None) or ""
    if base != sys.executable:
        yield base, "sys._base_executable"
    for name in names[:2]:
        path = os.path.join(sys.base_exec_prefix, "bin", name)
        yield path, "the base installation's interpreter"
    import sysconfig  # costs milliseconds, and is rarely reached

    folder = sysconfig.get_config_var("BINDIR") or ""
    yield os.path.join(folder, names[0]), "the build configuration's interpreter"
    import shutil

    yield shutil.which(names[0]) or "", f"{names[0]} on PATH"


def _problem(path: str, how: str) -> str:
    """Why this candidate can't be launched; empty if it can."""
    if not path:
        return "it is empty"
    if not os.path.isabs(path):
        return "it is not absolute"
    if not os.access(path, os.X_OK):
        return "no such executable file"
    if how == "sys.executable" and not _is_command_line_python(path):
        return "it is not the Python that runs this process, but a program that embeds it"
    if how != "sys.executable" and not looks_like_python(path):
        return "its name is not a Python's"
    return ""


def looks_like_python(path: str) -> bool:
    """Whether the file's name is one that a Python interpreter bears."""
    return os.path.basename(path).lower().startswith(("python", "pypy"))


def _is_command_line_python(path: str) -> bool:
    words = getattr(sys, "orig_argv", [])
    if not words:  # a C program that called Py_Initialize
        return False
    if looks_like_python(path):
        return _runs_here(path)
    if words == sys.argv:  # a C program that handed its own arguments to Python
        return False
    try:
        with open("/proc/self/cmdline", "rb") as file:
            return file.read().split(b"\0")[:-1] == [os.fsencode(word) for word in words]
    except OSError:
        return False


def _runs_here(path: str) -> bool:
    """Whether this file is the one that the kernel runs; True where the kernel can't be asked."""
    try:
        running = os.stat("/proc/self/exe")
        named = os.stat(path)
    except OSError:  # no /proc
        return True
    same = (running.st_dev, running.st_ino) == (named.st_dev, named.st_ino)
    # A Python that was started through the dynamic loader: the kernel runs that, ld-something.
    return same or os.path.basename(os.readlink("/proc/self/exe")).startswith("ld")
