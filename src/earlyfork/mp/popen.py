"""`Popen`: one worker as multiprocessing sees it, from the pickling to the exit code."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import signal
import socket
import struct
import warnings
from multiprocessing import context as _context
from multiprocessing import process, resource_tracker
from multiprocessing import util as _util
from posix import kill
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork.mp import around, child, template

if TYPE_CHECKING:
    from earlyfork.mp.template import Source

# Their private halves, which start methods share, are not in the type stubs.
util: Any = _util
context: Any = _context

tracking: Any = resource_tracker._resource_tracker

NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
#: The exit code that the standard library gives for a process whose server died: nobody knows it.
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
        """Pass this fd to the worker, while its object is pickled; the index among those passed."""
        self._fds.append(fd)
        return len(self._fds) - 1

    def _launch(self, process_obj: process.BaseProcess, source: Source) -> None:
        tracker = _tracker()
        settings = template.settings()
        buffer = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            context.reduction.dump(process_obj, buffer)
        finally:
            context.set_spawning_popen(None)
        worker, kept = source.fork(settings)
        streams, fds = _streams_that_differ(kept.streams)
        note = pickle.dumps(
            (
                process_obj._name,  # type: ignore[attr-defined]
                around.look(),
                around.signals(),
                around.environment_changes(kept.environment),
                streams,
                settings.beyond(kept),
            )
        )
        lifeline = worker.run("earlyfork.mp.child.work", linked=_must_end_with_us(process_obj))
        lifeline.settimeout(None)
        # By this socket the worker sees our end, and we see the worker's if its template was lost.
        try:
            _send(lifeline, note, buffer.getbuffer(), [tracker, *fds, *self._fds])
        except BaseException:  # the worker sees that not all has come, and ends
            _let_go(worker, lifeline)
            raise
        self._process = worker
        self._lifeline = lifeline
        self.finalizer = util.Finalize(self, _let_go, (worker, lifeline))

    @property
    def sentinel(self) -> int:
        """An fd that becomes readable when the process is gone. It is made when first asked for."""
        return self._process.sentinel

    @property
    def pid(self) -> int:
        """The process id; waits until the template has made the process."""
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
        """The exit code when the template was killed: LOST as soon as the worker's socket ends."""
        poll = select.poll()
        poll.register(self._lifeline, select.POLLIN)
        # gevent's looks at nothing if it may not wait at all.
        return LOST if poll.poll(None if wait else 1) else None

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            try:
                self._process.send_signal(number)
            except (earlyfork.EarlyForkError, OSError):
                if self.poll() is None:  # the worker's socket says that it lives
                    with contextlib.suppress(ProcessLookupError):
                        kill(self.pid, number)

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
        """Close what belongs to the handle."""
        if self.finalizer is not None:
            self.finalizer()


def _let_go(worker: earlyfork.Process, lifeline: socket.socket) -> None:
    worker.close()
    lifeline.close()


def _tracker() -> int:
    """The fd of the resource tracker, which is launched if need be.

    The standard library finds out whether the tracker lives by writing to it, which wakes it up
    each time. Here the pipe is polled: it says by itself that it has lost its reader.
    """
    fd = tracking._fd
    if fd is not None:
        poll = select.poll()
        poll.register(fd, 0)
        if not poll.poll(0):
            return fd  # type: ignore[no-any-return]
    return resource_tracker.getfd()  # type: ignore[return-value]


def _send(sock: socket.socket, note: bytes, job: memoryview, fds: list[int]) -> None:
    """Send a worker all that it waits for. If the worker is gone, its exit code says why."""
    head = child.HEAD.pack(len(fds), len(note), len(job))
    parts = [memoryview(head), memoryview(note), job]
    try:
        sent = sock.sendmsg(parts, _rights(fds[: child.MOST_FDS]), NOSIGNAL)
        for part in parts:
            if sent < len(part):
                sock.sendall(part[sent:], NOSIGNAL)
            sent = max(0, sent - len(part))
        for start in range(child.MOST_FDS, len(fds), child.MOST_FDS):
            sock.sendmsg([b"+"], _rights(fds[start : start + child.MOST_FDS]), NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError):
        return


def _rights(fds: list[int]) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]


def _streams_that_differ(
    base: tuple[tuple[int, int, int] | None, ...],
) -> tuple[dict[int, bool], list[int]]:
    """The standard streams that a worker must be given: {number: is it open here}, and the fds."""
    now = around.streams()
    if now == base:
        return {}, []
    streams = {n: now[n] is not None for n in range(3) if now[n] is None or now[n] != base[n]}
    return streams, [number for number, is_open in streams.items() if is_open]


def _must_end_with_us(process_obj: process.BaseProcess) -> bool:
    """Whether a worker has nothing to live for when this process ends, however it ends.

    That is true of daemonic workers, of an executor's workers, and of whatever a daemonic process
    starts: a daemonic process is killed without warning, and nobody would join its children.
    """
    if process_obj.daemon or process.current_process().daemon:
        return True
    target = getattr(process_obj, "_target", None)
    return getattr(target, "__module__", "") == "concurrent.futures.process"
