"""Fork a template off the main program, there and then.

This runs on the line that imports earlyfork. So it loads as little as possible, and does without
what other modules may well import: `__future__`, `_socket`, the room `_ground`. What is rarely
asked is in `_importer`, and what the template does in `_origin.shed`; both are loaded when they are
needed.
"""

import os
import sys
from posix import close

from earlyfork import _context

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

try:
    if os.environ.get("EARLYFORK_PURE"):
        raise ImportError
    from earlyfork import _quick as _forking
except ImportError:  # no compiler there, or another system
    from earlyfork import _fork_free as _forking  # type: ignore[no-redef]


class Forked:
    """The main program's end of a root template."""

    __slots__ = ("baseline", "comm", "files", "status")

    def __init__(self, comm: int, status: int, baseline: _context.Context) -> None:
        self.comm = comm
        self.status = status
        #: By which both are known again, should somebody close all fds and open others.
        self.files = tuple(map(os.fstat, (comm, status)))
        self.baseline = baseline


# -- who asks ------------------------------------------------------------------------------------


def importers() -> list[str]:
    """The modules on the stack that are importing each other, innermost first."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if (
            not name.startswith(("importlib.", "_frozen_importlib", "earlyfork"))
            and name not in ("importlib", "pyimod02_importers", "zipimport")
            and (not names or names[-1] != name)
        ):
            names.append(name)
        frame = frame.f_back
    return names


def main_program_asks(names: list[str]) -> bool:
    """Whether the innermost of these importers is the main program.

    That is `__main__`; the package run by `python -m`; the package that an installed console
    script imports. Nobody between may belong to another package: a library never forks its host.
    """
    if not names or names[0] == "__main__":
        return bool(names)
    from earlyfork import _importer

    return _importer.for_main(names)


def is_multiprocessing_child() -> bool:
    """Whether this is a child or a helper of multiprocessing, which runs the first line again."""
    if "--multiprocessing-fork" in sys.argv[1:2]:
        return True
    words = getattr(sys, "orig_argv", [])
    if any("from multiprocessing." in word for word in words[1:]):
        return True
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False  # pragma: no cover - where coverage is measured, coverage has loaded it
    current = process.current_process()
    return bool(process.parent_process()) or getattr(current, "_inheriting", False)


def thread_count() -> int:
    """How many threads this process has: by the kernel's count, or else by Python's."""
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:  # no /proc: only Python's own threads can be known
        import _thread

        return 1 + _thread._count()


def in_subinterpreter() -> bool:
    """Whether this is not the main interpreter, which alone has the right to fork.

    From 3.12 on `os.fork` does not refuse in those that C code begins as of old (mod_wsgi).
    """
    if _forking.__name__ == "earlyfork._quick":
        return False  # it refuses to be loaded in one
    for name in ("_interpreters", "_xxsubinterpreters"):  # from 3.13 on, and before
        try:
            asked = __import__(name)
        except ImportError:
            continue
        return bool(asked.get_current() != asked.get_main())
    return False


def what_greenlets_hinder() -> str:
    """What of gevent's kind is in the way of a fork, in words; empty: nothing."""
    for name, function in (("select", "select"), ("_thread", "allocate_lock")):
        module = sys.modules.get(name)
        found = getattr(module, function, None)
        if module is not None and type(found) is not type(len):
            whose = getattr(found, "__module__", None) or type(found).__name__
            return f"{name}.{function} is {whose}'s by now, and would be so in every process"
    return "greenlets run already, and would go on in every process" if greenlets_run() else ""


def greenlets_run() -> bool:
    """Whether this is a greenlet, or there are others that have begun (a hub is one)."""
    module = sys.modules.get("greenlet")
    if module is None:
        return False
    import gc

    kind = module.greenlet
    return any(
        issubclass(type(found), kind) and found and found.parent is not None
        for found in gc.get_objects()
    )


def is_nuitka_onefile() -> bool:
    """Whether the second thread may be the one with which Nuitka's onefile watches its parent."""
    main = sys.modules.get("__main__")
    compiled = globals().get("__compiled__") or getattr(main, "__compiled__", None)
    return compiled is not None and bool(getattr(compiled, "onefile", False))


# -- what can't be read later --------------------------------------------------------------------

#: Functions of `os` after which files may be out of reach that could be read before.
_GIVE_UP = ("chroot", "seteuid", "setresuid", "setreuid", "setuid")


def load_before_files_go(load: "Callable[[], None]") -> None:
    """Have `load` called just before the program gives up the right to read files.

    The functions of `os` that do so call it the first time, and are themselves again.
    """
    own: dict[str, tuple[object, object]] = {}

    def put_in_place(name: str) -> None:
        original = getattr(os, name)

        def load_first(*args: object, **named: object) -> object:
            for other, (before, ours) in own.items():
                if getattr(os, other) is ours:
                    setattr(os, other, before)
            load()
            return original(*args, **named)

        load_first.__name__ = load_first.__qualname__ = name
        load_first.__doc__ = original.__doc__
        own[name] = original, load_first
        setattr(os, name, load_first)

    for name in _GIVE_UP:
        if hasattr(os, name):
            put_in_place(name)


# -- the fork ------------------------------------------------------------------------------------


def fork_template(body: "Callable[[int, int], NoReturn]") -> Forked:
    """Fork a process that runs `body(comm, status)` and ends there, whatever the body raises.

    It is forked twice, so that it is nobody's child and no `wait` ever sees it.

    Args:
        body: never returns. Its fds are the template's ends of comm and of status.

    Raises:
        OSError: no process, no memory or no fd was to be had; nothing is left behind.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except Exception:  # noqa: S112 - broken, closed or none at all: nothing to write twice
                continue
    try:
        near, far, ours, theirs = fds = [*_forking.two_pairs()]
    except OSError as error:
        raise OSError(error.errno, f"no template can be forked: {error.strerror}") from error
    try:
        # If a standard stream is closed, its number is one of these sockets now. So the baseline
        # differs from what is found there later, and each new process is told to fill that stream.
        baseline = _context.Context()
        # In the template this closes the owner's two ends. Left to `shed` they would stay open if
        # their numbers are those of closed streams, and the template would hold its own other end.
        if _forking.fork_free(near, far, ours):
            try:
                body(_above(far), _above(theirs))
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        for fd in (far, theirs):
            fds.remove(fd)
            close(fd)
        return Forked(_above(near), _above(ours), baseline)
    except BaseException as error:  # also of a signal's handler that was called just now
        for fd in fds:
            close(fd)
        if isinstance(error, OSError):
            text = f"no template could be forked: {error.strerror}"
            raise OSError(error.errno, text) from error
        raise


def _above(fd: int) -> int:
    if fd > 2:
        return fd
    from earlyfork._ground.fds import above_streams

    return above_streams(fd)
