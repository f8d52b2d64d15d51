"""How an event loop drives a pool: what `earlyfork.pool._threads` is for threads."""

from __future__ import annotations

import asyncio
import contextlib
import select
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.pool._reactor import Reactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork.pool._job import Job


class LoopReactor(Reactor):
    """What a loop watches for one pool."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._events: set[Any] = set()

    def want(self, job: Job) -> None:
        """The loop runs all the time."""

    def look(self) -> None:
        """The same."""

    def drop(self, function: Callable[[], object]) -> None:
        """Call this soon, in the loop; the collector or another thread asks for it."""
        self.dropped.append(function)
        self._soon(self.wake)

    def _soon(self, function: Callable[[], None]) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        """Somebody in this loop has changed something: see to it, and to the time."""
        if self.dropped:
            self.handle()
        self._set_timer()
        self._tell()

    def _set_timer(self) -> None:
        raise NotImplementedError

    def on_ready(self, fd: int, mask: int) -> None:
        """An fd is readable, or has room."""
        self.handle([(fd, mask)])
        self._set_timer()
        self.call_back()
        self._tell()

    def on_time(self) -> None:
        """Something may be due."""
        self.handle()
        self._set_timer()
        self.call_back()
        self._tell()

    def _tell(self) -> None:
        events, self._events = self._events, set()
        for event in events:
            event.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not done():
            event = self.kind.Event()
            self._events.add(event)
            try:
                await event.wait()
            finally:
                self._events.discard(event)


class AsyncioReactor(LoopReactor):
    """asyncio's loop calls back."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self._loop = asyncio.get_running_loop()
        self._timer: Any = None
        self._due: float | None = None

    def _soon(self, function: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def watch(self, fd: int, function: Callable[[int], None]) -> None:
        self.sources[fd] = function
        self._loop.add_reader(fd, self.on_ready, fd, select.POLLIN)

    def also_write(self, fd: int, *, wants: bool) -> None:
        if wants:
            self._loop.add_writer(fd, self.on_ready, fd, select.POLLOUT)
        elif not self._loop.is_closed():
            self._loop.remove_writer(fd)

    def unwatch(self, fd: int) -> None:
        if self.sources.pop(fd, None) is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)

    def _set_timer(self) -> None:
        due = self.next_time()
        if due == self._due or self._loop.is_closed():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        if due is not None:
            self._timer = self._loop.call_later(max(0.0, due - monotonic()), self._is_due)

    def _is_due(self) -> None:
        self._due = None
        self.on_time()


class TrioReactor(LoopReactor):
    """On trio a system task waits for each fd, and one for the time."""

    def __init__(self, kind: Any) -> None:
        super().__init__(kind)
        self._token = kind.trio.lowlevel.current_trio_token()
        self._scopes: dict[tuple[int, int], Any] = {}
        self._timer: Any = None
        self._due: float | None = None

    def _soon(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(self.kind.trio.RunFinishedError):
            self._token.run_sync_soon(function)

    def watch(self, fd: int, function: Callable[[int], None]) -> None:
        self.sources[fd] = function
        self._spawn(fd, select.POLLIN, self.kind.trio.lowlevel.wait_readable)

    def also_write(self, fd: int, *, wants: bool) -> None:
        if wants:
            self._spawn(fd, select.POLLOUT, self.kind.trio.lowlevel.wait_writable)
        else:
            self._end(fd, select.POLLOUT)

    def unwatch(self, fd: int) -> None:
        if self.sources.pop(fd, None) is not None:
            self._end(fd, select.POLLIN)
            self._end(fd, select.POLLOUT)

    def _spawn(self, fd: int, mask: int, wait: Any) -> None:
        scope = self._scopes[fd, mask] = self.kind.trio.CancelScope()

        async def watch() -> None:
            with scope:
                while not scope.cancel_called:
                    await wait(fd)
                    self.on_ready(fd, mask)

        self.kind.trio.lowlevel.spawn_system_task(watch)

    def _end(self, fd: int, mask: int) -> None:
        scope = self._scopes.pop((fd, mask), None)
        if scope is not None:
            scope.cancel()  # which at once takes the fd out of what trio watches

    def _set_timer(self) -> None:
        due = self.next_time()
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is None:
            return
        scope = self._timer = self.kind.trio.CancelScope()

        async def sleep() -> None:
            with scope:
                await self.kind.trio.sleep(max(0.0, due - monotonic()))
                self._due = self._timer = None
                self.on_time()

        self.kind.trio.lowlevel.spawn_system_task(sleep)
