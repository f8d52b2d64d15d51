"""The multiprocessing start method "earlyfork": whatever uses multiprocessing can use earlyfork.

Importing this registers it: `multiprocessing.get_context("earlyfork")` and
`multiprocessing.set_start_method("earlyfork")` work from then on, here and in all workers. The
semantics are those of "spawn", the processes come from earlyfork's templates.

Uses the public API of `Process` only. Must not fix the program's default start method at import.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import marshal
import operator
import os
import pickle
import select
import signal
import sys
import threading
import warnings
from multiprocessing import context, process, resource_tracker, spawn, util
from multiprocessing.context import reduction, set_spawning_popen
from typing import TYPE_CHECKING

import earlyfork
from earlyfork import _mp_around as around
from earlyfork import _mp_child as child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["EarlyForkContext", "EarlyForkProcess", "get_context"]

#: A value that is sent has a length limit; larger pickles go in pieces.
PIECE = 1 << 28
#: What the standard library gives for a process whose server died, so that nobody can know.
LOST = 255


# -- the name --------------------------------------------------------------------------------------


class _Name(str):
    """The name of the start method, which registers it wherever it is unpickled.

    Every child of "spawn" and "forkserver" is sent the name of the default start method and looks
    it up before anything else, and before it has our `sys.path`.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return str, (str(self),)
        return getattr, (_Import(), "NAME")


class _Import:
    """Unpickled as this module: found by its place, which is put on `sys.path` first.

    The path does not stay: `spawn.prepare` replaces it by the sender's.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        add = (operator.methodcaller("append", place), (_Path(),))
        return operator.itemgetter(1), ((_Call(add), _Call((importlib.import_module, (__name__,)))),)


class _Path:
    """Unpickled as the receiver's `sys.path`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_Call((importlib.import_module, ("sys",))), "path")


class _Call:
    """Unpickled as the result of a call."""

    def __init__(self, call: tuple[Any, ...]) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


NAME = _Name("earlyfork")


# -- the template ----------------------------------------------------------------------------------


class _Kept:
    """A prepared process that workers are forked from, and what it was prepared with."""

    def __init__(self, key: tuple[object, ...], fork: Callable[[], earlyfork.Process]) -> None:
        self.key = key
        self.owner = os.getpid()
        self.fork = fork
        self.environment = around.environment()
        self.streams = around.streams()
        self._process: earlyfork.Process | None = None
        self._report = -1

    @classmethod
    def of_this_worker(cls, prepared: child.Prepared, key: tuple[object, ...]) -> _Kept:
        """The template that this process itself was forked from."""
        kept = cls(key, earlyfork.sibling)
        kept.environment = prepared.environment
        kept.streams = prepared.streams
        return kept

    @classmethod
    def prepare(
        cls,
        key: tuple[object, ...],
        base: earlyfork.Process,
        payload: bytes,
        *,
        foreign: bool,
    ) -> _Kept:
        """Prepare `base`, a process that nothing was run in, and keep it."""
        kept = cls(key, base.fork)
        kept._process = base
        if foreign:  # made at another time, with streams that are not known here
            kept.streams = (None, None, None)
        report, far_report = os.pipe()
        try:
            base.send_fh(resource_tracker.getfd(), far_report)
            base.call("earlyfork._mp_child.prepare", payload)
        except BaseException:
            os.close(report)
            raise
        finally:
            os.close(far_report)
        kept._report = report
        return kept

    def is_gone(self) -> bool:
        """Whether it is known to have ended."""
        if self.owner != os.getpid():
            return True
        try:
            return self._process is not None and self._process.poll() is not None
        except earlyfork.ProcessLost:  # its own template was killed, which says nothing of it
            return False

    def retire(self) -> None:
        """Let it end when its workers have; nothing is forked from it any more."""
        if self._process is not None and self.owner == os.getpid():
            self._process.close()

    def unlink_semaphores(self) -> None:
        """At the end of this process: unlink what the main module made when it was run there."""
        report, self._report = self._report, -1
        if report < 0 or self.owner != os.getpid():
            return
        from multiprocessing.synchronize import SemLock

        os.set_blocking(report, False)
        with open(report, "rb", buffering=0) as file:
            for name in (file.read() or b"").decode().split():
                with contextlib.suppress(FileNotFoundError):
                    SemLock._cleanup(name)  # type: ignore[attr-defined]


class _Source:
    """Where a context's processes come from: one template, made when it is first needed."""

    def __init__(self, template: earlyfork.Process | None = None) -> None:
        self.template = template
        self.preload: list[str] = []
        self._kept: _Kept | None = None
        self._former: list[_Kept] = []
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def fork(
        self, main: child.Main | None, data: dict[str, Any]
    ) -> tuple[earlyfork.Process, _Kept]:
        """A process for one worker whose preparation data is `data`, and its template."""
        if self.template is not None and self.template.has_main:
            main = child.ALREADY_THERE
        key = (main, tuple(self._preload()), _executable(), id(self.template))
        for attempt in (1, 2):
            with self._lock:
                kept = self._kept
                if kept is None or kept.key != key or kept.is_gone():
                    self._retire()
                    kept = self._kept = self._make(key, main, data)
            try:
                worker = kept.fork()
                worker.poll()  # one that was forked ahead by a template that is dead says so
                return worker, kept
            except (earlyfork.TemplateDied, earlyfork.ProcessLost):
                with self._lock:
                    if self._kept is kept:
                        self._retire()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _make(
        self, key: tuple[object, ...], main: child.Main | None, data: dict[str, Any]
    ) -> _Kept:
        above = child.prepared
        if above is not None and self.template is None and above.serves(*key[:3]) and not self._former:
            return _Kept.of_this_worker(above, key)
        settings = {name: value for name, value in data.items() if name in _SETTINGS}
        payload = pickle.dumps((key, self._preload(), main, settings))
        if self.template is not None:
            base = self.template.fork()
        elif key[2] is not None:
            base = earlyfork.new_exec(executable=key[2])  # type: ignore[arg-type]
        else:
            base = earlyfork.new()
        return _Kept.prepare(key, base, payload, foreign=self.template is not None)

    def _preload(self) -> list[str]:
        """Modules named by `set_forkserver_preload`, on this context or on the default one."""
        server = sys.modules.get("multiprocessing.forkserver")
        names = list(server._forkserver._preload_modules) if server is not None else []
        return [name for name in (*names, *self.preload) if name != "__main__"]

    def _retire(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.retire()
            self._former.append(kept)

    def close(self) -> None:
        """Let go of everything; the next start makes another template."""
        with self._lock:
            self._retire()
            former, self._former = self._former, []
        for kept in former:
            kept.unlink_semaphores()


#: What of the preparation data matters to the main module when it is run in the template.
_SETTINGS = {"sys_path", "sys_argv", "dir", "orig_dir"}


def _take_main(data: dict[str, Any]) -> child.Main | None:
    """Take the main module out of the preparation data; None where spawn would not run it."""
    name = data.pop("init_main_from_name", None)
    path = data.pop("init_main_from_path", None)
    code = getattr(sys.modules["__main__"], child.FROZEN_CODE, None)
    if code is not None:  # there is no file to run again
        return "code", marshal.dumps(code)
    if name is not None:
        return None if name.rpartition(".")[2] == "__main__" else ("name", name)
    if path is None or os.path.splitext(os.path.basename(path))[0] == "ipython":
        return None
    return "path", path


def _executable() -> str | None:
    """The interpreter that `multiprocessing.set_executable` asked for, if it did."""
    path = spawn.get_executable()
    if not path or os.fsdecode(path) == sys.executable:
        return None
    return os.fsdecode(path)


_default = _Source()
_sources = [_default]


def _after_fork_in_child() -> None:
    for source in _sources:
        source._renew()


os.register_at_fork(after_in_child=_after_fork_in_child)


def at_exit() -> None:
    """Let the templates go, when all processes were joined and all finalizers have run."""
    util._exit_function()
    for source in _sources:
        source.close()


atexit.register(at_exit)


# -- starting --------------------------------------------------------------------------------------


class Popen:
    """One worker as multiprocessing sees it."""

    method = NAME
    DupFd = child.DupFd

    def __init__(self, process_obj: process.BaseProcess, source: _Source) -> None:
        util._flush_std_streams()
        self.returncode: int | None = None
        self.finalizer: Any = None
        self._fds: list[int] = []
        self._owner = os.getpid()
        self._launch(process_obj, source)

    def duplicate_for_child(self, fd: int) -> int:
        """Called while the process object is pickled: pass this fd."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: process.BaseProcess, source: _Source) -> None:
        tracker = resource_tracker.getfd()
        data = spawn.get_preparation_data(process_obj._name)  # type: ignore[attr-defined]
        main = _take_main(data)
        buffer = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(data, buffer)
            reduction.dump(process_obj, buffer)
        finally:
            set_spawning_popen(None)
        linked = _must_end_with_us(process_obj)
        try:
            self._run(source.fork(main, data), tracker, buffer, linked=linked)
        except earlyfork.TemplateDied:  # it was killed, and did not look so a moment ago
            self._run(source.fork(main, data), tracker, buffer, linked=linked)

    def _run(
        self,
        where: tuple[earlyfork.Process, _Kept],
        tracker: int,
        buffer: io.BytesIO,
        *,
        linked: bool,
    ) -> None:
        worker, kept = where
        streams, sent = _streams_that_differ(kept.streams)
        changes = around.environment_changes(kept.environment)
        worker.send_fh(tracker, *sent, *self._fds)
        worker.send_arg(pickle.dumps((around.look(), changes, streams)))
        for start in range(0, buffer.tell(), PIECE):
            worker.send_arg(bytes(buffer.getbuffer()[start : start + PIECE]))
        socket = worker.run("earlyfork._mp_child.work", linked=linked)
        # The worker sees our end at the other end of this, we see its end if its template was lost.
        lifeline = socket.detach()
        try:
            self.sentinel = worker.sentinel
        except BaseException:
            _let_go(worker, lifeline)
            raise
        self._process = worker
        self._lifeline = lifeline
        self.finalizer = util.Finalize(self, _let_go, (worker, lifeline))

    @property
    def pid(self) -> int:
        """The process id; waits if the template has not come to it yet."""
        return self._process.pid

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, or None while the process lives; waits if `flag` is 0."""
        if self.returncode is None and self._owner == os.getpid():
            try:
                self.returncode = self._process.poll() if flag else self._process.wait()
            except earlyfork.ProcessLost:
                self.returncode = self._after_loss(wait=not flag)
            except (earlyfork.TemplateDied, OSError) as error:  # there never was a process
                self.returncode = LOST
                warnings.warn(f"{error}", earlyfork.EarlyForkWarning, stacklevel=2)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None if the process still lives after `timeout` seconds."""
        if self.returncode is None and timeout is not None:
            from multiprocessing.connection import wait

            if not wait([self.sentinel], timeout):
                return None
        return self.poll(os.WNOHANG if timeout == 0.0 else 0)

    def _after_loss(self, *, wait: bool) -> int | None:
        """The template was killed: the end of the worker shows at its socket, its status nowhere."""
        poll = select.poll()
        poll.register(self._lifeline, select.POLLIN)
        return LOST if poll.poll(None if wait else 0) else None

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            try:
                self._process.send_signal(number)
            except (earlyfork.EarlyForkError, OSError):
                if self.poll() is None:  # its socket says that it lives
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pid, number)

    def interrupt(self) -> None:
        """Send SIGINT."""
        self._send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of what belongs to the handle."""
        if self.finalizer is not None:
            self.finalizer()


def _let_go(worker: earlyfork.Process, lifeline: int) -> None:
    worker.close()
    os.close(lifeline)


def _streams_that_differ(
    base: tuple[tuple[int, int, int] | None, ...],
) -> tuple[dict[int, bool], list[int]]:
    """Which standard streams a worker must be given: by number, whether there is an fd to send."""
    now = around.streams()
    if now == base:
        return {}, []
    streams = {n: now[n] is not None for n in range(3) if now[n] is None or now[n] != base[n]}
    return streams, [number for number, is_open in streams.items() if is_open]


def _must_end_with_us(process_obj: process.BaseProcess) -> bool:
    """Whether a worker has nothing to live for when this process ends, however it ends.

    That is true of daemonic ones, of an executor's workers, and of whatever a daemonic process
    starts: it is killed without warning, and nobody would join its children.
    """
    if process_obj.daemon or process.current_process().daemon:
        return True
    target = getattr(process_obj, "_target", None)
    return getattr(target, "__module__", "") == "concurrent.futures.process"


# -- what multiprocessing is given -----------------------------------------------------------------


class EarlyForkProcess(process.BaseProcess):
    """A process started by this method."""

    _start_method = NAME

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> Popen:  # noqa: N802 - multiprocessing's name
        return Popen(process_obj, _default)

    @staticmethod
    def _after_fork() -> None:
        """Done already, before the process object was unpickled: it has finalizers to keep."""

    def start(self) -> None:
        """Start the process; from a daemonic one too.

        The standard library forbids that, since a daemonic process is killed without a chance to
        join its children. Here those are linked to it: they end when it ends.
        """
        if not process.current_process().daemon:
            super().start()
            return
        self._check_closed()  # type: ignore[attr-defined]
        assert self._popen is None, "cannot start a process twice"  # type: ignore[has-type]
        assert self._parent_pid == os.getpid(), (  # type: ignore[attr-defined]
            "can only start a process object created by current process"
        )
        process._cleanup()  # type: ignore[attr-defined]
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel
        del self._target, self._args, self._kwargs  # type: ignore[attr-defined]
        process._children.add(self)  # type: ignore[attr-defined]


def _revive() -> EarlyForkProcess:
    return EarlyForkProcess.__new__(EarlyForkProcess)


class EarlyForkContext(context.BaseContext):
    """The context of this start method."""

    _name = NAME
    Process: type[process.BaseProcess] = EarlyForkProcess

    def __init__(self, source: _Source | None = None) -> None:
        self._source = source or _default
        if source is None:
            return

        def popen(process_obj: process.BaseProcess) -> Popen:
            return Popen(process_obj, source)

        def reduce(process_obj: process.BaseProcess, protocol: Any) -> Any:
            if type(process_obj) is self.Process:  # a class that only this context knows
                return _revive, (), process_obj.__dict__
            return super(EarlyForkProcess, process_obj).__reduce_ex__(protocol)

        self.Process = type(
            "EarlyForkProcess",
            (EarlyForkProcess,),
            {"_Popen": staticmethod(popen), "__reduce_ex__": reduce, "__module__": __name__},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return get_context, ()

    def set_forkserver_preload(self, module_names: list[str]) -> None:
        """Name modules to import in the template, as far as they can be; for the next start on."""
        if not all(type(name) is str for name in module_names):
            raise TypeError("module_names must be a list of strings")
        self._source.preload = list(module_names)

    def _check_available(self) -> None:
        if not hasattr(os, "fork"):
            raise ValueError("the start method earlyfork needs a system that can fork")


def get_context(*, template: earlyfork.Process | None = None) -> EarlyForkContext:
    """The multiprocessing context of this start method.

    Args:
        template: a prepared process, say `earlyfork.new().require("numpy")`, or a snapshot: all
            processes of the context are forked from it as it is at the first start. A snapshot has
            the main module's functions already, so that the script is not run again for them.

    Raises:
        TypeError: `template` is no Process.
    """
    if template is None:
        return _registered
    if not isinstance(template, earlyfork.Process):
        raise TypeError(f"template= takes an earlyfork.Process, not {type(template).__name__}")
    source = _Source(template)
    _sources.append(source)
    return EarlyForkContext(source)


def _spawnv_passfds(path: Any, args: list[Any], fds: Iterable[int]) -> int:
    """In a frozen app: the resource tracker is no second run of the app's binary either."""
    text = os.fsdecode(args[-1])
    if "multiprocessing.resource_tracker import main" not in text:
        return _stock_spawnv_passfds(path, args, fds)  # type: ignore[no-any-return]
    number = int(text.rpartition("(")[2].rstrip(")"))
    tracker = earlyfork.new().send_fh(number)
    os.close(tracker.run("earlyfork._mp_child.track").detach())
    return tracker.pid


_stock_spawnv_passfds = util.spawnv_passfds  # type: ignore[attr-defined]
if getattr(sys, "frozen", False):
    util.spawnv_passfds = _spawnv_passfds  # type: ignore[attr-defined]
_registered = EarlyForkContext()
context._concrete_contexts[NAME] = _registered  # type: ignore[attr-defined]
