"""Several calls at once in a worker: coroutines as tasks, other functions in threads.

Used by `_worker` when the concurrency is above 1. The main thread runs an asyncio loop. It alone
reads; whoever has an answer or an event sends it, under a lock.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.rpc import _wire as wire
from earlyfork.rpc._errors import CallCancelled
from earlyfork.rpc._there import COROUTINE, Current, imports_something
from earlyfork.rpc._values import dump, pack_error

if TYPE_CHECKING:
    from earlyfork.rpc._wire import Frame
    from earlyfork.rpc._worker import Worker

_current: contextvars.ContextVar[Current | None] = contextvars.ContextVar("call", default=None)


class Running:
    """One call that runs, as a task, and for a part of that maybe in a thread."""

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self.task: asyncio.Task[None] | None = None
        self.thread = 0
        self.started = self.cancelled = False
        #: How many items of a stream may be sent.
        self.credit = 0
        self.more = asyncio.Event()


class Tasks:
    """What a worker with a concurrency above 1 is made of, beside the engine."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.running: dict[int, Running] = {}
        self.sending = threading.RLock()
        #: Held while the thread of a call is told to end, and while one leaves its call.
        self.ending = threading.Lock()
        self.threads = ThreadPoolExecutor(worker.concurrency, "earlyfork-call")
        self.over = asyncio.Event()
        self.posted = 0

    async def serve(self) -> None:
        """Run calls until the client closes, or is gone."""
        worker = self.worker
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.sock.fileno(), self.readable)
        self.readable()
        try:
            await self.over.wait()
        finally:
            if worker.sock is not None:
                loop.remove_reader(worker.sock.fileno())

    def readable(self) -> None:
        """Read what is there, and begin what may begin."""
        worker = self.worker
        try:
            while worker.inbox.read(worker.sock, wire.DONTWAIT):
                worker.take()
            self.end()
            return
        except BlockingIOError:
            worker.take()
        except ConnectionResetError:
            self.end()
            return
        self.go_on()

    def end(self) -> None:
        """The client is gone: so is this worker, whatever runs."""
        self.worker.sock.close()
        self.over.set()
        for running in self.running.values():
            self.tell(running)

    def go_on(self) -> None:
        """Begin calls that wait, as far as there may be more; end when nothing is left."""
        worker = self.worker
        while worker.queue and len(self.running) < worker.concurrency:
            frame = worker.queue.popleft()
            running = Running(frame[2] if frame[0] != wire.POST else self.post_ident())
            running.credit = int(worker.limits.pop(-frame[2], 0))
            self.running[running.ident] = running
            running.task = asyncio.get_running_loop().create_task(self.run(running, frame))
        if not self.running and not worker.queue and (worker.closing or worker.retiring):
            self.over.set()

    def post_ident(self) -> int:
        self.posted -= 1
        return self.posted

    async def run(self, running: Running, frame: Frame) -> None:
        """Run one call, and answer."""
        worker = self.worker
        kind, ident = frame[0], frame[2]
        running.started = True
        try:
            if ident in worker.cancelled:
                worker.cancelled.discard(ident)
                worker.limits.pop(ident, None)
                worker.send(wire.CANCELLED, ident, 0, b"")
                return
            limit = worker.limits.pop(ident, None)
            finite = limit is not None and limit < float("inf")
            _current.set(Current(ident, monotonic() + limit if finite and limit else None))
            if limit is not None:
                worker.send(wire.BEGUN, ident, 0, b"")
            function, args, kwargs = worker.function_of(frame)
            if hasattr(function, "found"):  # not looked up yet
                function = function.found()
            if _is_async(function):
                result = function(*args, **kwargs)
            else:
                result = await self.in_thread(running, function, args, kwargs)
            if type(result) is COROUTINE:
                result = await result  # type: ignore[func-returns-value]
            if kind == wire.CALL:
                worker.send(wire.RESULT, ident, 0, *dump(result))
            elif kind == wire.STREAM:
                await self.stream(running, result)
        except BaseException as error:
            self.fail(running, kind, ident, error)
        finally:
            self.running.pop(running.ident, None)
            self.go_on()

    def fail(self, running: Running, kind: int, ident: int, error: BaseException) -> None:
        if self.worker.sock is None or self.over.is_set():
            return
        if running.cancelled and isinstance(error, (asyncio.CancelledError, CallCancelled)):
            self.worker.send(wire.CANCELLED, ident, 0, b"")
        elif kind == wire.POST:
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            self.worker.send(wire.ERROR, ident, 0, pack_error(error))

    async def stream(self, running: Running, source: Any) -> None:
        """Send items as far as there is credit."""
        worker = self.worker
        is_async = hasattr(source, "__anext__")
        items = source if is_async else iter(source)
        try:
            while True:
                while running.credit <= 0:
                    running.more.clear()
                    await running.more.wait()
                try:
                    if is_async:
                        item = await items.__anext__()
                    else:
                        item = await self.in_thread(running, _next, (items,), {})
                        if item is _END:
                            break
                except StopAsyncIteration:
                    break
                running.credit -= 1
                with self.sending:
                    worker.counted += 1
                    number = worker.counted & 0xFFFFFFFF
                    worker.send(wire.ITEM, running.ident, number, *dump(item))
        finally:
            if is_async:
                await source.aclose()
            elif hasattr(items, "close"):
                items.close()
        worker.send(wire.RESULT, running.ident, 0, *dump(None))

    async def in_thread(self, running: Running, function: Any, args: Any, kwargs: Any) -> Any:
        """Run a function in a thread; wait for its end even if this task is cancelled."""
        context = contextvars.copy_context()

        def job() -> Any:
            try:
                with self.ending:
                    if running.cancelled:
                        raise CallCancelled("the caller has cancelled this call")
                    running.thread = threading.get_ident()
                try:
                    return context.run(function, *args, **kwargs)
                finally:
                    with self.ending:
                        running.thread = 0
                        _raise_in(threading.get_ident(), None)
            except StopIteration as error:  # no future can hold one
                raise RuntimeError("the function raised StopIteration") from error

        return await asyncio.get_running_loop().run_in_executor(self.threads, job)

    def tell(self, running: Running) -> None:
        """End a call that runs."""
        if running.cancelled:
            return
        running.cancelled = True
        if not running.started:  # a task that is cancelled before its first step runs nothing
            self.worker.cancelled.add(running.ident)
            return
        self.interrupt(running)

    def interrupt(self, running: Running) -> None:
        """Raise CallCancelled in the thread that runs this call, or else cancel the task."""
        with self.ending:
            if running.thread:
                frame = sys._current_frames().get(running.thread)
                if imports_something(frame):
                    asyncio.get_running_loop().call_later(0.01, self.interrupt, running)
                else:
                    _raise_in(running.thread, CallCancelled)
                return
        if running.task is not None:
            running.task.cancel()


def _is_async(function: Any) -> bool:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and bool(code.co_flags & (0x80 | 0x200))


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have a thread raise this at its next step of Python; None: no longer."""
    argument = ctypes.py_object(error) if error is not None else ctypes.c_void_p(0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


_END = object()


def _next(items: Any) -> Any:
    return next(items, _END)


def serve(worker: Worker) -> None:
    """Serve the client of this worker, several calls at once."""
    asyncio.run(_serve(worker))


async def _serve(worker: Worker) -> None:
    tasks = Tasks(worker)
    plain_send, plain_event = worker.send, worker.event

    def send(*frame: Any) -> None:
        with tasks.sending:
            plain_send(*frame)

    def event(args: tuple[object, ...]) -> None:
        with tasks.sending:
            plain_event(args)

    def cancel(ident: int) -> None:
        found = tasks.running.get(ident)
        if found is not None:
            tasks.tell(found)
        elif any(frame[2] == ident for frame in worker.queue):
            worker.cancelled.add(ident)

    def credit(ident: int, number: int) -> None:
        found = tasks.running.get(ident)
        if found is not None:
            found.credit += number
            found.more.set()
        else:
            worker.limits[-ident] = worker.limits.get(-ident, 0) + number

    worker.send, worker.event = send, event  # type: ignore[method-assign, assignment]
    worker.cancel, worker.credit = cancel, credit  # type: ignore[method-assign]
    worker.current = _current.get  # type: ignore[method-assign]
    try:
        await tasks.serve()
    finally:
        tasks.threads.shutdown(wait=False, cancel_futures=True)
