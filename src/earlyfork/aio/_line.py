"""How tasks wait for answers: `earlyfork.rpc`'s engine, driven by an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork import ProcessLost, TemplateDied
from earlyfork.aio._loops import loop
from earlyfork.rpc._line import Line
from earlyfork.rpc._session import Slot
from earlyfork.rpc._wire import DONTWAIT, NOSIGNAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


class Items(Slot):
    """A stream, and what has come of it."""

    is_stream = goes_before = True

    def __init__(self) -> None:
        self.items = deque()


class Awaited(Slot):
    """A call that a task of asyncio waits for. It is awaited itself, as a future is.

    A future would cost each call one more turn of the loop, with its system call: a future's end is
    told to its task in the next turn only. This tells it at once, from the loop's own callback,
    where nothing else is going on (`AsyncioLine._on_readable`).
    """

    watched = True
    #: What a task looks for in what it waits for.
    _asyncio_future_blocking = False
    _wake_up: Any = None
    _context: Any = None
    _is_cancelled = False

    def __init__(self, line: AsyncioLine) -> None:
        self._line = line

    def __repr__(self) -> str:
        return f"<a call of {self.name}>"

    def __await__(self) -> Iterator[Any]:
        if self.message is None:
            self._is_cancelled = False
            self._asyncio_future_blocking = True
            yield self

    def get_loop(self) -> Any:
        """The loop of its task."""
        return self._line._running

    def add_done_callback(self, fn: Any, *, context: Any = None) -> None:
        """Have the task go on when the call has ended."""
        self._wake_up, self._context = fn, context

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - asyncio's own
        """Have the task go on with CancelledError; False if it is to go on already."""
        if self._wake_up is None:
            return False
        self._is_cancelled = True
        self._go_on_soon()
        return True

    def result(self) -> None:
        """What the waiting itself gives."""
        if self._is_cancelled:
            raise asyncio.CancelledError

    def arrived(self) -> None:
        if self._wake_up is not None:
            if self._line._ready is None:
                self._line._ready = self
            else:
                self._go_on_soon()

    def go_on(self) -> None:
        """Let the task go on, here and now."""
        wake_up, self._wake_up = self._wake_up, None
        if wake_up is not None:
            self._context.run(wake_up, self)

    def _go_on_soon(self) -> None:
        wake_up, self._wake_up = self._wake_up, None
        self._line._running.call_soon(wake_up, self, context=self._context)


class AsyncLine(Line):
    """What both kinds of loop have in common. Nothing here ever blocks the loop."""

    _loop: Any = None
    _ending = False
    _waiters: Any = ()

    def _write_rest(self) -> None:
        """Write what there is room for; the rest is written when there is room again."""
        while self._outbox.queue:
            try:
                if self._outbox.write(self._sock, DONTWAIT | NOSIGNAL):
                    return
            except OSError as error:
                if not self._hindered(error):
                    self._write_later()
                return

    def _write_later(self) -> None:
        raise NotImplementedError

    def _wait_for(
        self, _done: Callable[[], bool], _deadline: float | None = None, _slot: Any = None
    ) -> bool:
        """Calls wait for room in the window before they begin; streams begin at once."""
        return True

    def _hand_on(self) -> None:
        """Tasks are told what they wait for by the calls that have ended."""

    def _end(self, why: str = "") -> None:
        """The worker is going: `find_end` waits for it, since nothing here may."""
        self._why = self.__dict__.get("_why") or why
        if why:
            self._process.kill()
        if not self._ending:
            self._ending = True
            self._start_find_end()

    def _start_find_end(self) -> None:
        raise NotImplementedError

    async def _find_end(self) -> None:
        """Learn how the worker ended, and end all calls."""
        process, kind = self._process, self._loop
        returncode: int | None = None
        pid: int | None = None
        try:
            if not await kind.within(1.0, lambda: kind.readable(process.sentinel)):
                process.kill()  # it has closed its socket, and lives on
                await kind.readable(process.sentinel)
            returncode = process.wait(1.0)
            pid = process.pid
        except (ProcessLost, TemplateDied) as lost:
            pid = getattr(lost, "pid", None)
            if process.is_far:
                self.__dict__.setdefault("_why", f"is lost: {lost}")
        self._tell_end(pid, returncode, await self._said(), self.__dict__.get("_why", ""))
        self._wake()

    async def _said(self) -> str:
        """What is known of the worker's stderr."""
        kept = self._kept
        if kept is None:
            return ""
        call = kept.ask()
        while call is not None and not call.done():
            # Not for ever: a thread with a client of its own may read the answer.
            await self._loop.within(0.02, lambda: self._loop.readable(kept.fileno()))
        said: str = kept.told(call)
        return said

    def rest(self) -> None:
        """For now nobody waits for this worker."""

    def _wake(self) -> None:
        """Have all look again who wait for something else than the end of a call."""

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        raise NotImplementedError

    def _new_slot(self) -> Slot:
        """A call, before it is sent."""
        return Slot()

    def _wait_slot(self, slot: Any) -> Awaitable[None]:
        """Wait until a call has ended."""
        raise NotImplementedError

    async def _finish(self, slot: Slot) -> None:
        """The task was cancelled that waits for this call: end the call, by its policy."""
        if slot.message is not None or self._session.ended is not None:
            return
        slot.reason = "cancel"
        running = self._session.may_run(slot.ident)
        self._end_call(slot)
        if slot.policy == "abandon" or not running:
            return

        async def over() -> None:
            await self._wait_slot(slot)

        async def end() -> None:
            if not await self._loop.within(slot.grace, over):
                self._process.kill()
                await over()

        await self._loop.shielded(end)


class AsyncioLine(AsyncLine):
    """On asyncio the loop reads, as long as somebody waits."""

    _attached = _writing_later = False
    #: The first call that has ended, while the answers are being read (None: as yet none has).
    _ready: Any = False
    _timer: Any = None
    _running: Any = None
    _task: Any = None

    def _attach(self) -> None:
        if not self._attached and not self._ending:
            self._attached = True
            self._running = asyncio.get_running_loop()
            self._running.add_reader(self._sock.fileno(), self._on_readable)

    def _detach(self) -> None:
        attached, self._attached = self._attached, False
        if attached and not self._running.is_closed():
            self._running.remove_reader(self._sock.fileno())

    def _stop_writing(self) -> None:
        writing, self._writing_later = self._writing_later, False
        if writing and not self._running.is_closed():
            self._running.remove_writer(self._sock.fileno())

    def rest(self) -> None:
        self._detach()
        self._stop_writing()
        if self._timer is not None:
            self._timer.cancel()
        # Workers that rest must not keep a loop alive, with which they are to end.
        self._timer = self._running = self._task = None

    def _on_readable(self) -> None:
        if not self._session.calls and not self._waiters:
            self._detach()  # nobody waits: what comes is left where it is
            return
        self._ready = None
        try:
            self._read_once(now=True)
        finally:
            ready, self._ready = self._ready, False
        if self._session.timed:
            self._on_time()
        if self._waiters:
            self._wake()
        if ready:
            ready.go_on()

    def _on_time(self) -> None:
        self._see_to_times()
        earliest = self._earliest(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if earliest is not None:
            left = max(0.0, earliest - monotonic())
            self._timer = asyncio.get_running_loop().call_later(left, self._on_time)

    def _write_later(self) -> None:
        if not self._writing_later:
            self._writing_later = True
            self._attach()
            self._running = asyncio.get_running_loop()
            self._running.add_writer(self._sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        self._write_rest()
        if not self._outbox.queue:
            self._stop_writing()
            if self._waiters:
                self._wake()

    def _start_find_end(self) -> None:
        self._detach()
        self._stop_writing()
        self._task = asyncio.get_running_loop().create_task(self._find_end())

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, ()
        for future in waiters:
            if not future.done():
                future.set_result(None)

    def _new_slot(self) -> Slot:
        return Awaited(self)

    def _wait_slot(self, slot: Any) -> Awaitable[None]:
        if not self._attached:
            self._attach()
        if self._session.timed:
            self._on_time()
        found: Awaitable[None] = slot
        return found

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        while not done() and self._session.ended is None:
            future = asyncio.get_running_loop().create_future()
            self._waiters = (*self._waiters, future)
            self._attach()
            try:
                await future
            finally:
                self._waiters = tuple(f for f in self._waiters if f is not future)


class TrioLine(AsyncLine):
    """On trio one of the tasks that wait reads and writes; then the next one does."""

    _leading = False

    def _write_later(self) -> None:
        """Whoever leads sees to it."""

    def _start_find_end(self) -> None:
        """Whoever leads sees to it."""

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, ()
        for event in waiters:
            event.set()

    async def _wait_slot(self, slot: Any) -> None:
        await self._wait_until(lambda: slot.message is not None)

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        while not done() and self._session.ended is None:
            if self._leading:
                event = self._loop.Event()
                self._waiters = (*self._waiters, event)
                await event.wait()
                continue
            self._leading = True
            try:
                if self._ending:
                    await self._find_end()
                elif self._outbox.queue or self._session.timed:
                    await self._loop.within(self._left(), self._io)
                    self._see_to_times()
                else:
                    await self._loop.trio.lowlevel.wait_readable(self._sock)
                if not self._ending:
                    self._read_once(now=True)
            finally:
                self._leading = False
                if self._waiters:
                    self._wake()

    def _left(self) -> float:
        earliest = self._earliest(None)
        return 3600.0 if earliest is None else max(0.0, earliest - monotonic())

    async def _io(self) -> None:
        """Wait until there is something to read, or room for what is to be written."""
        lowlevel = self._loop.trio.lowlevel
        if not self._outbox.queue:
            await lowlevel.wait_readable(self._sock)
            return
        async with self._loop.trio.open_nursery() as nursery:

            async def first(wait: Callable[[Any], Awaitable[None]]) -> None:
                await wait(self._sock)
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, lowlevel.wait_readable)
            nursery.start_soon(first, lowlevel.wait_writable)
        self._write_rest()


def line_class() -> type[AsyncLine]:
    """The kind of line for the loop that this code runs in."""
    return AsyncioLine if loop().name == "asyncio" else TrioLine
