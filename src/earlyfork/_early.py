"""Fork a template off the main program, there and then.

Runs on the line that imports earlyfork, so it imports as little as possible; everything else the
template wants it loads itself, after the fork and on its own time.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys

from earlyfork import _context

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import NoReturn

#: How long a new early template keeps still, in milliseconds: working right away it would slow
#: down the main program's own start.
PAUSE = 2
#: What a template inherited and dropped: kept, so that nothing of it is ever finalised there.
_inherited: list[object] = []


class Forked:
    """The main program's end of a root template."""

    __slots__ = ("baseline", "comm", "inode", "status")

    def __init__(self, comm: int, status: int, baseline: _context.Context) -> None:
        self.comm = comm
        #: By which the socket is known again, should somebody close all fds and open others.
        self.inode = os.fstat(comm).st_ino
        self.status = status
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
    if names == ["runpy"]:  # python -m earlyfork run ...: the program to come is the main one
        return _module_option() == "earlyfork"
    package = names[0].partition(".")[0]
    for position, name in enumerate(names):
        if name.partition(".")[0] != package:
            outer = name
            rest = names[position + 1 :]
            break
    else:
        return False
    if outer == "runpy" and not rest:
        return _module_option().partition(".")[0] == package
    if outer != "__main__":
        return False
    return _module_option().partition(".")[0] == package or _is_console_script()


def _module_option() -> str:
    """The module that `python -m` was asked for, or an empty string."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if not word.startswith("-") or word == "-":
            return ""
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, "")
            continue
        for position, flag in enumerate(word):  # several flags may stand in one word
            value = word[position + 1 :]
            if flag == "m":
                return value or next(words, "")
            if flag == "c":
                return ""
            if flag in "XW":
                if not value:
                    next(words, "")
                break
    return ""


def _is_console_script() -> bool:
    """Whether `__main__` is a script that an installer wrote: it lies where those are put."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    if not path:
        return False
    here = os.path.dirname(os.path.abspath(path))
    homes = {os.path.dirname(os.path.abspath(sys.executable)), os.path.join(sys.prefix, "bin")}
    homes.add(os.path.expanduser("~/.local/bin"))
    return here in homes and not path.endswith(".py")


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


# -- the fork ------------------------------------------------------------------------------------


def fork_template(body: Callable[[int, int], NoReturn]) -> Forked:
    """Fork a process, unrelated to this one, that runs `body(comm, status)`; never in between.

    It is forked twice, so that it is nobody's child and no `wait` ever sees it.

    Raises:
        OSError: no process, no memory or no fd was to be had; nothing is left behind.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                continue  # broken or closed: nothing in it will be written twice either
    ends: list[_socket.socket] = []
    try:
        for _ in range(2):
            ends += _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError as error:
        for end in ends:
            end.close()
        raise OSError(error.errno, f"no template can be forked: {error.strerror}") from error
    near, far, ours, theirs = ends
    ours.setblocking(False)
    theirs.setblocking(False)
    baseline = _context.Context()
    # The main program's handlers must not run in the template before it has reset them.
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            # Else a template whose main program had closed streams would hold its own other end.
            near.close()
            ours.close()
            _second_fork(body, far.detach(), theirs.detach())
        far.close()
        theirs.close()
        problem = _exit_of(pid)
    except OSError as error:
        far.close()
        theirs.close()
        problem = error.errno or 1
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    if problem:
        near.close()
        ours.close()
        raise OSError(problem, f"no template could be forked: {os.strerror(problem)}")
    return Forked(_above(near.detach()), _above(ours.detach()), baseline)


def _second_fork(body: Callable[[int, int], NoReturn], comm: int, status: int) -> NoReturn:
    code = 1
    try:
        if os.fork():
            os._exit(0)
        body(_above(comm), _above(status))
    except OSError as error:
        code = error.errno or 1
    finally:
        os._exit(code)


def _above(fd: int) -> int:
    if fd > 2:
        return fd
    from earlyfork import _platform

    return _platform.above_streams(fd)


def _exit_of(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # SIGCHLD is ignored here: the kernel took it
        return 0


# -- the template's first steps ------------------------------------------------------------------


def early_template(comm: int, status: int, *keep: int) -> NoReturn:
    """What an early template does: shed the main program, then serve."""
    import gc
    import select

    close_other_fds({comm, status, *keep})
    fresh_main()
    drop_half_imports()
    sys.argv = [""]
    sys.modules["earlyfork"].__dict__["_reason"] = "this process was made by earlyfork"
    poll = select.poll()
    poll.register(comm, select.POLLIN)
    poll.poll(PAUSE)
    from earlyfork import _frozen, _here, _root

    _here.Here.collect_by = _frozen.collect_by()
    gc.freeze()
    _root.serve_root(comm, status)


def close_other_fds(keep: set[int]) -> None:
    """Close every fd above the streams but `keep`; closed streams become /dev/null."""
    from earlyfork import _platform

    for fd in _platform.open_fds():  # which may lie above the limit, if that was lowered
        if fd not in keep:
            os.close(fd)
    _context.fill_streams()


def fresh_main() -> None:
    """An empty `__main__`: without a file, else multiprocessing would run the wrong one again."""
    old = sys.modules["__main__"]
    _inherited.append(old)
    main: ModuleType = type(sys)("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    main.__dict__["__annotations__"] = {}  # noqa: RUF063 - set, not read
    main.__spec__ = None
    sys.modules["__main__"] = main


def half_imported() -> list[str]:
    """Names of modules whose import is under way."""
    return [
        name
        for name, module in list(sys.modules.items())
        if getattr(getattr(module, "__spec__", None), "_initializing", False)
    ]


def drop_half_imports() -> None:
    """Let half-imported modules be imported anew: nobody will ever finish them here.

    Their submodules go too, since those are bound to the parent only when they are loaded.
    earlyfork itself is whole enough: this is its last line.
    """
    half = [name for name in half_imported() if name.partition(".")[0] != "earlyfork"]
    _inherited.extend(
        sys.modules.pop(name)
        for name in list(sys.modules)
        if any(name == parent or name.startswith(parent + ".") for parent in half)
    )
    finish_half_imports()


def finish_half_imports() -> None:
    """Mark modules as imported whose import goes on in another process, and drop their locks.

    The locks are held by a thread that will never come back to release them: a second thread that
    imports such a module would hang (seen on 3.10 to 3.13).
    """
    for name in half_imported():
        spec = sys.modules[name].__spec__
        spec._initializing = False  # type: ignore[union-attr]
    import _frozen_importlib

    _frozen_importlib._module_locks.clear()  # type: ignore[attr-defined]


def serve_marker(fds: tuple[int, int]) -> NoReturn:
    """What a launched frozen binary does instead of running the app."""
    from earlyfork import _frozen

    comm, status = fds
    if not _frozen.has_own_directory:
        if os.fork():  # nobody's child, as every root template
            os._exit(0)
        early_template(comm, status)
    # PyInstaller's bootloader removes the directory as soon as this process ends: it stays until
    # all that were forked from the template, and so hold the other end of a pipe, are gone.
    end, lifeline = os.pipe()
    if os.fork():
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        close_other_fds({end})
        os.read(end, 1)
        os._exit(0)
    early_template(comm, status, lifeline)


def is_nuitka_onefile() -> bool:
    """Whether the second thread may be the one with which Nuitka's onefile watches its parent."""
    main = sys.modules.get("__main__")
    compiled = globals().get("__compiled__") or getattr(main, "__compiled__", None)
    return compiled is not None and bool(getattr(compiled, "onefile", False))
