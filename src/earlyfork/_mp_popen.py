"""`Popen`: one worker as multiprocessing sees it, from the pickling to the exit code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import signal
import warnings
from multiprocessing import context as _context
from multiprocessing import process, resource_tracker, spawn
from multiprocessing import util as _util
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork import _mp_around as around
from earlyfork import _mp_child as child
from earlyfork import _mp_template as template

if TYPE_CHECKING:
    from earlyfork._mp_template import Kept, Source

# Their private halves, which start methods share, are not in the type stubs.
util: Any = _util
context: Any = _context

#: A value that is sent has a length limit; larger pickles go in pieces.
PIECE = 1 << 28
#: What the standard library gives for a process whose server died, so that nobody can know.
LOST = 255


class Popen:
    """One worker as multiprocessing sees it."""

    method = "earlyfork"
    DupFd = child.DupFd

    def __init__(self, process_obj: process.BaseProcess, source: Source) -> None:
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

    def _launch(self, process_obj: process.BaseProcess, source: Source) -> None:
        tracker: Any = resource_tracker.getfd()
        data = spawn.get_preparation_data(process_obj._name)  # type: ignore[attr-defined]
        main = template.take_main(data)
        buffer = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            context.reduction.dump(data, buffer)
            context.reduction.dump(process_obj, buffer)
        finally:
            context.set_spawning_popen(None)
        linked = _must_end_with_us(process_obj)
        try:
            self._run(source.fork(main, data), tracker, buffer, linked=linked)
        except earlyfork.TemplateDied:  # it was killed, and did not look so a moment ago
            self._run(source.fork(main, data), tracker, buffer, linked=linked)

    def _run(
        self,
        where: tuple[earlyfork.Process, Kept],
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
        """The template was killed: a worker's end shows at its socket, its status nowhere."""
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
