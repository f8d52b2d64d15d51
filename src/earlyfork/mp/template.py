"""The template that workers are forked from: made once, kept, and made again if need be.

This is the caller's half; what happens in the template is in `child`.
"""

from __future__ import annotations

import atexit
import contextlib
import marshal
import multiprocessing
import os
import pickle
import sys
import threading
from multiprocessing import process, resource_tracker, spawn
from multiprocessing import util as _util
from posix import close
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork.mp import around, child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

util: Any = _util  # its private half, which start methods share, is not in the type stubs


_FROM_STDIN = " (it was read from stdin)"


class Kept:
    """A prepared process that workers are forked from, and what it was prepared with."""

    def __init__(self, key: tuple[object, ...], fork: Callable[[], earlyfork.Process]) -> None:
        self.key = key
        self.owner: int = os.getpid()
        self.fork = fork
        self.environment: dict[bytes, bytes] = around.environment()
        self.streams: around.Streams = around.streams()
        #: The settings that its workers have without being told; None: not known here.
        self.settings: object = None
        self._process: earlyfork.Process | None = None
        self._report = -1

    @classmethod
    def of_this_worker(cls, prepared: child.Prepared, key: tuple[object, ...]) -> Kept:
        """The template that this process itself was forked from."""
        kept = cls(key, earlyfork.sibling)
        kept.environment = prepared.environment
        kept.streams = prepared.streams
        kept.settings = prepared.settings
        return kept

    @classmethod
    def prepare(
        cls,
        key: tuple[object, ...],
        base: earlyfork.Process,
        payload: bytes,
        *,
        foreign: bool,
    ) -> Kept:
        """Prepare `base`, a process that nothing was run in, and keep it."""
        kept = cls(key, base.fork)
        kept._process = base
        if foreign:  # the user made it at some time, with streams that are not known here
            kept.streams = (None, None, None)
        report, far_report = os.pipe()
        try:
            base.send_fh(resource_tracker.getfd(), far_report)
            base.call("earlyfork.mp.child.prepare", payload)
        except BaseException:
            close(report)
            raise
        finally:
            close(far_report)
        kept._report = report
        return kept

    def retire(self) -> None:
        """Fork nothing from this template any more; it ends when its workers have ended."""
        if self._process is not None and self.owner == os.getpid():
            self._process.close()

    def unlink_semaphores(self) -> None:
        """At the end of this process: unlink the main module's semaphores made in the template."""
        report, self._report = self._report, -1
        if report < 0 or self.owner != os.getpid():
            return
        from multiprocessing.synchronize import SemLock

        os.set_blocking(report, False)
        with open(report, "rb", buffering=0) as file:
            for name in (file.read() or b"").decode().split():
                with contextlib.suppress(FileNotFoundError):
                    SemLock._cleanup(name)  # type: ignore[attr-defined]


class Source:
    """Where a context's processes come from: one template, made when it is first needed."""

    def __init__(self, template: earlyfork.Process | None = None) -> None:
        self.template = template
        self.preload: list[str] = []
        self._kept: Kept | None = None
        self._former: list[Kept] = []
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def fork(self, settings: Settings) -> tuple[earlyfork.Process, Kept]:
        """A process for one worker with these settings, and its template."""
        main = settings.main
        if self.template is not None and self.template.has_main:
            main = child.ALREADY_THERE
        key = (main, tuple(self._preload()), _executable(), id(self.template))
        for attempt in (1, 2):
            with self._lock:
                kept = self._kept
                if kept is None or kept.key != key or kept.owner != os.getpid():
                    self._retire()
                    kept = self._kept = self._make(key, main, settings)
            try:
                worker = kept.fork()
                worker.poll()  # raises if this is a standby whose template has died
                return worker, kept
            except (earlyfork.TemplateDied, earlyfork.ProcessLost):
                with self._lock:
                    if self._kept is kept:
                        self._retire()
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _make(self, key: tuple[object, ...], main: child.Main | None, settings: Settings) -> Kept:
        above = child.prepared
        if (
            above is not None
            and self.template is None
            and above.serves(*key[:3])
            and not self._former
        ):
            return Kept.of_this_worker(above, key)
        if main is not None and main[0] == "path" and not os.path.exists(main[1]):
            raise earlyfork.TemplateError(
                "the main program can't be run again for its workers: there is no file "
                f"{main[1]!r}{_FROM_STDIN * str(main[1]).endswith('<stdin>')}. Run it from a file, "
                "or fork the workers from a snapshot, which has its functions: "
                "earlyfork.mp.get_context(template=earlyfork.template.snapshot())"
            )
        payload = pickle.dumps((key, self._preload(), main, settings.shared))
        if self.template is not None:
            base = self.template.fork()
        elif key[2] is not None:
            base = earlyfork.new_exec(executable=key[2])  # type: ignore[arg-type]
        else:
            base = earlyfork.new()
        kept = Kept.prepare(key, base, payload, foreign=self.template is not None)
        kept.settings = settings.shared
        return kept

    def _preload(self) -> list[str]:
        """Modules named by `set_forkserver_preload`, on this context or on the default one."""
        server = sys.modules.get("multiprocessing.forkserver")
        names = server._forkserver._preload_modules if server is not None else ()
        return [name for name in (*names, *self.preload) if name != "__main__"]

    def _retire(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.retire()
            self._former.append(kept)

    def close(self) -> None:
        """Let go of all templates; the next start makes another one."""
        with self._lock:
            self._retire()
            former, self._former = self._former, []
        for kept in former:
            kept.unlink_semaphores()


# -- what spawn calls the preparation data -------------------------------------------------------


class Settings:
    """The preparation data of one moment. As long as it does not change, this object is kept."""

    def __init__(self, mark: tuple[object, ...], data: dict[str, Any]) -> None:
        self.mark = mark
        self.main: child.Main | None = _take_main(data)
        data.pop("name", None)  # each process has its own
        data["authkey"] = bytes(data["authkey"])  # which can be pickled at any time
        data["start_method"] = str(data["start_method"])
        #: What a worker is told by itself: a template that logs would log in a worker's name.
        logging = data.pop("log_to_stderr", False) or "log_level" in data
        self.logging: dict[str, Any] = {"log_to_stderr": util._log_to_stderr} if logging else {}
        if "log_level" in data:
            self.logging["log_level"] = data.pop("log_level")
        #: All else, pickled: what a template and its workers have in common.
        self.shared: bytes = pickle.dumps(data)

    def beyond(self, kept: Kept) -> bytes:
        """What a worker forked from this template must still be told, pickled; empty if nothing."""
        if kept.settings == self.shared:
            return pickle.dumps(self.logging) if self.logging else b""
        return pickle.dumps({**pickle.loads(self.shared), **self.logging})


_last: Settings | None = None


def settings() -> Settings:
    """This process's settings now.

    Raises:
        RuntimeError: the main module is being imported for a spawned process.
        FileNotFoundError: there is no working directory any more.
    """
    global _last
    current: Any = process.current_process()
    main = sys.modules["__main__"]
    try:
        directory = os.getcwd()
    except FileNotFoundError as error:
        text = "this program's working directory was removed: no worker can be started in it"
        raise FileNotFoundError(error.errno, f"{text}; go to another one by os.chdir()") from None
    mark = (
        [*sys.path],
        [*sys.argv],
        directory,
        multiprocessing.get_start_method(),
        current.authkey,
        main,
        getattr(main, "__spec__", None),
        getattr(main, "__file__", None),
        process.ORIGINAL_DIR,  # type: ignore[attr-defined]
        util._log_to_stderr,
        util._logger and util._logger.getEffectiveLevel(),
    )
    last = _last
    if last is None or last.mark != mark or getattr(current, "_inheriting", False):
        _last = last = Settings(mark, spawn.get_preparation_data(current.name))
    return last


def _take_main(data: dict[str, Any]) -> child.Main | None:
    """Take the main module out of the preparation data; None where spawn would not run it."""
    name = data.pop("init_main_from_name", None)
    path = data.pop("init_main_from_path", None)
    code = getattr(sys.modules["__main__"], child.FROZEN_CODE, None)
    if code is not None:  # a frozen app: there is no file to run again
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


#: Where the registered context's processes come from.
default: Source = Source()
sources: list[Source] = [default]


def _after_fork_in_child() -> None:
    for source in sources:
        source._renew()


os.register_at_fork(after_in_child=_after_fork_in_child)


def at_exit() -> None:
    """Join all processes and run all finalizers; then let go of the templates."""
    util._exit_function()
    for source in sources:
        source.close()


atexit.register(at_exit)


# -- the resource tracker of a frozen app ----------------------------------------------------------


def _spawnv_passfds(path: Any, args: list[Any], fds: Sequence[int]) -> int:
    """In a frozen app: start the resource tracker without running the app's binary once more."""
    text = os.fsdecode(args[-1])
    if "multiprocessing.resource_tracker import main" not in text:
        return stock_spawnv_passfds(path, args, fds)  # type: ignore[no-any-return]
    number = int(text.rpartition("(")[2].rstrip(")"))
    tracker = earlyfork.new().send_fh(number)
    close(tracker.run("earlyfork.mp.child.track").detach())
    return tracker.pid


stock_spawnv_passfds = util.spawnv_passfds
if earlyfork.is_frozen():
    util.spawnv_passfds = _spawnv_passfds
