"""The far side of the multiprocessing start method: how a template is prepared, and a worker begun.

Runs in processes that earlyfork made. `prepare` runs once in the template that a program keeps for
its workers, `work` in each worker.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import marshal
import multiprocessing
import os
import pickle
import socket
import struct
import sys
import types
from multiprocessing import context as _context
from multiprocessing import process, resource_tracker, spawn
from multiprocessing import util as _util
from posix import close, write
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork.mp import around
from earlyfork.mp.exits import ExitFunctions
from earlyfork.mp.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn


util: Any = _util  # its private half, which start methods share, is not in the type stubs
tracking: Any = resource_tracker._resource_tracker

#: How a main module is found ("path", "name", "code" or "snapshot"), and where.
Main = tuple[str, "str | bytes"]
#: Where PyInstaller leaves the code of a frozen main script.
FROZEN_CODE = "_pyi_main_co"
#: The main module of a template that is a snapshot.
ALREADY_THERE: Main = ("snapshot", "")

#: What a worker is sent begins with this: number of fds, lengths of note and process object.
HEAD = struct.Struct("!IQQ")
#: How many fds go in one message; the rest follow. The kernel's limit is 253.
MOST_FDS = 250
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Prepared:
    """What a template knows of itself; its workers inherit it."""

    def __init__(self, key: tuple[object, ...]) -> None:
        self.key = key
        #: Why the main module could not be imported, with a traceback; else empty.
        self.failure = ""
        #: What the main module has registered to be run at the end.
        self.exits: ExitFunctions = ExitFunctions()
        #: The settings that were applied here, as they came.
        self.settings = b""
        self.look()

    def look(self) -> None:
        """Note what this process has: its workers inherit that and need not be told."""
        self.around: bytes = around.look()
        self.environment: dict[bytes, bytes] = around.environment()
        self.streams: around.Streams = around.streams()

    def serves(self, main: object, preload: object, executable: object) -> bool:
        """Whether a worker's own workers can come from this template, which it was forked from."""
        return (
            self.key[0] in (main, ALREADY_THERE)
            and preload in ((), self.key[1])
            and executable in (None, self.key[2])
        )


#: In a template and its workers; None in any other process.
prepared: Prepared | None = None
#: In a worker: the fds that came with its process object, by the order of `duplicate_for_child`.
inherited: list[int] = []


class DupFd:
    """An fd on its way into a worker."""

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        """In the worker: the fd there."""
        return inherited[self.index]


# -- the template ----------------------------------------------------------------------------------

#: The settings that matter to the main module when it is run in the template.
_FOR_MAIN = {"sys_path", "sys_argv", "dir", "orig_dir"}


def prepare(payload: bytes) -> None:
    """Make this process a template for workers: settings, the main module, modules to preload.

    Two fds were sent before. The first is the resource tracker's; it is kept only while the main
    module is run, which may make locks. The second takes the names of the semaphores that are made
    meanwhile.
    """
    global prepared
    tracker, report = earlyfork.run_args()[-2:]
    assert isinstance(tracker, int)
    assert isinstance(report, int)
    key, preload, main, settings = pickle.loads(payload)
    if tracking._fd is not None:  # a snapshot's
        close(tracking._fd)
    tracking._fd = tracker
    tracking._pid = None
    prepared = Prepared(key)
    process.current_process()._inheriting = True  # type: ignore[attr-defined]
    try:
        data = pickle.loads(settings)
        spawn.prepare({name: value for name, value in data.items() if name in _FOR_MAIN})
        # The caller's input is not for a second reader. spawn gives its workers /dev/null as well.
        around.apply_streams({0: -1})
        with _silence(), _no_starts(), prepared.exits.noted():
            _run_main(main, preload)
        spawn.prepare(data)  # all of them, and again what the main module may have changed
        prepared.settings = settings
    except BaseException as error:
        prepared.failure = _describe(error)
    finally:
        del process.current_process()._inheriting  # type: ignore[attr-defined]
        if tracking._fd == tracker:
            tracking._fd = None
            close(tracker)
        _report_semaphores(report)
        close(report)
    prepared.look()
    if not prepared.failure:
        earlyfork.rehearse(Rehearsal(_trifle(prepared), _take_over))


def _trifle(prepared: Prepared) -> bytes:
    """What a worker of this template would be sent, with a process object that does nothing."""
    spawning: Any = _context
    own: Any = multiprocessing.get_context("earlyfork")
    spawning.set_spawning_popen(prepared)
    try:
        job = bytes(spawning.reduction.ForkingPickler.dumps(own.Process()))
    finally:
        spawning.set_spawning_popen(None)
    note = pickle.dumps(("MainProcess", prepared.around, ((), ()), ({}, []), {}, b""))
    return HEAD.pack(0, len(note), len(job)) + note + job


def _run_main(main: Main | None, preload: list[str]) -> None:
    if main is not None and main != ALREADY_THERE:
        import_main(*main)
    for name in preload:
        with contextlib.suppress(ImportError):  # preloading is a hint, as for the forkserver
            __import__(name)


class _Stopped(BaseException):
    """The main module came to the point where it starts a process: far enough."""


def import_main(kind: str, where: str | bytes) -> None:
    """Import the program's main module as `__mp_main__` and make it `__main__`, as spawn does.

    A script without `if __name__ == "__main__":` comes to the line where it starts its first
    process. Its run ends there. All that its workers can need stands above that line: no more of
    the script had been run in the caller either when the caller started that process.
    """
    module = types.ModuleType("__mp_main__")
    code, names = _CODE_OF[kind](where)
    module.__dict__.update(names)
    spawn.old_main_modules.append(sys.modules["__main__"])
    sys.modules["__mp_main__"] = module
    with contextlib.suppress(_Stopped, SystemExit):
        exec(code, module.__dict__)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module


def _code_of_module(name: str) -> tuple[types.CodeType, dict[str, object]]:
    import importlib.util

    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"the main module {name} can't be found", name=name)
    names: dict[str, object] = {
        "__spec__": spec,
        "__file__": spec.origin,
        "__cached__": spec.cached,
        "__loader__": spec.loader,
        "__package__": spec.parent,
    }
    loader: Any = spec.loader
    return loader.get_code(name), names


def _code_of_script(path: str) -> tuple[types.CodeType, dict[str, object]]:
    import pkgutil

    with io.open_code(path) as file:
        text = file.read()
    try:
        code = pkgutil.read_code(io.BytesIO(text))
    except EOFError:  # a script shorter than the head of a .pyc
        code = None
    if code is None:
        code = compile(text, path, "exec", dont_inherit=True)
    sys.argv[:1] = [path]
    return code, {"__file__": path, "__cached__": None, "__package__": "", "__loader__": None}


def _code_of_frozen(data: bytes) -> tuple[types.CodeType, dict[str, object]]:
    code = marshal.loads(data)
    return code, {FROZEN_CODE: code}


_CODE_OF: dict[str, Callable[[Any], tuple[types.CodeType, dict[str, object]]]] = {
    "name": _code_of_module,
    "path": _code_of_script,
    "code": _code_of_frozen,
}


@contextlib.contextmanager
def _no_starts() -> Iterator[None]:
    """Within this context, no process can be started by any of multiprocessing's methods."""

    def start(_self: object) -> NoReturn:
        raise _Stopped

    own: Any = multiprocessing.get_context("earlyfork")
    classes: list[Any] = [process.BaseProcess, own.Process]
    before = [one.start for one in classes]
    for one in classes:
        one.start = start
    try:
        yield
    finally:
        for one, method in zip(classes, before, strict=True):
            one.start = method


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Within this context, nothing that is printed is seen: a main module has printed it before."""

    def flush() -> None:
        for stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()  # type: ignore[union-attr]

    flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    around.apply_streams({1: -1, 2: -1})
    try:
        yield
    finally:
        flush()
        around.apply_streams(saved)


def _describe(error: BaseException) -> str:
    import traceback

    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(error), error, tb))


def _report_semaphores(report: int) -> None:
    """Tell the caller which semaphores the main module made here: it unlinks them at its end.

    Until then they exist, for workers that hand them on. If their names do not fit into the pipe,
    they are left to the resource tracker, which then warns.
    """
    names = []
    for finalizer in list(util._finalizer_registry.values()):
        callback = getattr(finalizer, "_callback", None)
        if getattr(callback, "__qualname__", "") == "SemLock._cleanup":
            names.append(finalizer._args[0])
    util._finalizer_registry.clear()
    if names:
        os.set_blocking(report, False)
        with contextlib.suppress(OSError):
            write(report, "\n".join(names).encode())


# -- the worker ------------------------------------------------------------------------------------


def work(lifeline: socket.socket) -> NoReturn:
    """Be the process whose pickle comes through `lifeline`, and end with its exit status."""
    assert prepared is not None
    # Before 3.13 `_bootstrap` runs multiprocessing's exit function, from 3.13 on its caller does;
    # either way it is run once, by ours.
    atexit.unregister(util._exit_function)
    atexit.register(sys.modules["earlyfork.mp.template"].at_exit)
    prepared.exits.register()
    lifeline.settimeout(None)
    job = _take_over(lifeline)
    raise SystemExit(job._bootstrap(parent_sentinel=lifeline.detach()))


def _take_over(sock: socket.socket) -> Any:
    """Take over what the caller has sent: its surroundings; returns the process object."""
    assert prepared is not None
    note, pickled, fds = _receive(sock)
    name, surroundings, signals, environment, streams, settings = pickle.loads(note)
    util._finalizer_registry.clear()  # what the template made is finalised there
    if fds:
        tracking._fd = fds.pop(0)
    around.apply_streams({n: fds.pop(0) if sent else -1 for n, sent in streams.items()})
    around.apply_environment(*environment)
    around.apply(surroundings, prepared.around)
    around.apply_signals(*signals)
    util._run_after_forkers()  # locks of the main module and of logging
    if prepared.failure:
        sys.stderr.write(prepared.failure)
        raise SystemExit(1)
    inherited[:] = fds
    current: Any = process.current_process()
    current._inheriting = True
    try:
        current.name = name
        if settings:
            spawn.prepare(pickle.loads(settings))
        return pickle.loads(pickled)
    finally:
        del current._inheriting


def _receive(sock: socket.socket) -> tuple[bytes, memoryview, list[int]]:
    """What the caller has sent: the note, the pickled process object, the fds.

    The fds are, in this order: the resource tracker's, those of streams that differ, those of the
    process object.
    """
    fds: list[int] = []
    data = _read(sock, 1 << 16, fds)
    while len(data) < HEAD.size:
        data += _read(sock, HEAD.size - len(data), fds)
    count, size, rest = HEAD.unpack_from(data)
    start, end = HEAD.size + size, HEAD.size + size + rest
    if len(data) < end:
        parts = [data]
        missing = end - len(data)
        while missing:
            parts.append(_read(sock, min(missing, 1 << 24), fds))
            missing -= len(parts[-1])
        data = b"".join(parts)
    while len(fds) < count:
        _read(sock, 1, fds)
    return data[HEAD.size : start], memoryview(data)[start:end], fds


def _read(sock: socket.socket, size: int, fds: list[int]) -> bytes:
    """Read some bytes, `size` at most; adds the fds that came with them to `fds`."""
    data, ancillary, flags, _ = sock.recvmsg(size, socket.CMSG_SPACE(4 * MOST_FDS), CLOEXEC)
    for _, _, raw in ancillary:
        fds += struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    if flags & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, "too many open files in this process for those sent to it")
    if not data:
        os._exit(0)  # the caller has given up
    if not CLOEXEC:  # pragma: no cover - macOS
        for fd in fds:
            os.set_inheritable(fd, False)
    return data


def track(_lifeline: socket.socket, fd: int) -> None:
    """Be multiprocessing's resource tracker."""
    resource_tracker.main(fd)
