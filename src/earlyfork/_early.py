"""Fork a template off the main program, there and then.

Runs on the line that imports earlyfork, so it loads as little as possible, and does without what
other modules may well import: `__future__`, `_socket`, the ground layer. What is only asked now and
then is in _importer, what the template does in _origin.shed; both are loaded when they are needed.
"""

import os
import sys

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
    """Whether multiprocessing runs this first line again in a child, or a helper, of its own."""
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
    """How many threads this process has, as the kernel counts where it tells us."""
    try:
        return os.stat("/proc/self/task").st_nlink - 2
    except OSError:  # no /proc: Python's own threads are all that can be known
        import _thread

        return 1 + _thread._count()


def is_nuitka_onefile() -> bool:
    """Whether the second thread may be the one with which Nuitka's onefile watches its parent."""
    main = sys.modules.get("__main__")
    compiled = globals().get("__compiled__") or getattr(main, "__compiled__", None)
    return compiled is not None and bool(getattr(compiled, "onefile", False))


# -- the fork ------------------------------------------------------------------------------------


def fork_template(body: "Callable[[int, int], NoReturn]") -> Forked:
    """Fork a process, unrelated to this one, that runs `body(comm, status)`; never in between.

    It is forked twice, so that it is nobody's child and no `wait` ever sees it.

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
        # A closed stream's number is a socket's here: it differs later, and is made a stream there.
        baseline = _context.Context()
        # It closes two: if streams are closed here, a template would else hold its own other end.
        if _forking.fork_free(near, far, ours):
            try:
                body(_above(far), _above(theirs))
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        for fd in (far, theirs):
            fds.remove(fd)
            os.close(fd)
        return Forked(_above(near), _above(ours), baseline)
    except BaseException as error:  # also one that a signal's handler raises just now
        for fd in fds:
            os.close(fd)
        if isinstance(error, OSError):
            text = f"no template could be forked: {error.strerror}"
            raise OSError(error.errno, text) from error
        raise


def _above(fd: int) -> int:
    if fd > 2:
        return fd
    from earlyfork._ground.fds import above_streams

    return above_streams(fd)
