"""What the two kinds of event loop are asked for, by one set of names."""

from __future__ import annotations

import asyncio
import os
import sys
from posix import close
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Asyncio:
    """asyncio, with any loop that has `add_reader`."""

    name = "asyncio"
    Event = asyncio.Event
    Cancelled: type[BaseException] = asyncio.CancelledError

    @staticmethod
    def key() -> Any:
        """The loop that runs."""
        return asyncio.get_running_loop()

    @classmethod
    async def readable(cls, fd: int) -> None:
        """Wait until there is something to read."""
        loop = asyncio.get_running_loop()
        await cls._on(fd, loop.add_reader, loop.remove_reader)

    @classmethod
    async def writable(cls, fd: int) -> None:
        """Wait until there is room to write."""
        loop = asyncio.get_running_loop()
        await cls._on(fd, loop.add_writer, loop.remove_writer)

    @staticmethod
    async def _on(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
        # A loop has one callback for an fd: whoever else waits there would replace this one.
        own = os.dup(fd)
        try:
            found = asyncio.get_running_loop().create_future()
            add(own, _resolve, found)
            try:
                await found
            finally:
                remove(own)
        finally:
            close(own)

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Wait so long."""
        await asyncio.sleep(seconds)

    @staticmethod
    async def within(seconds: float, function: Callable[[], Awaitable[Any]]) -> bool:
        """Whether a function ends in this time; it is cancelled if not."""
        task = asyncio.ensure_future(function())
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            in_time = task.done()
            if not in_time:
                task.cancel()
                await asyncio.wait({task})
        if in_time:
            task.result()
        return in_time

    @staticmethod
    async def shielded(function: Callable[[], Awaitable[Any]]) -> None:
        """Run a function to its end, however often this is cancelled meanwhile."""
        task = asyncio.ensure_future(function())
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                if task.cancelled():
                    raise
                cancelled = error
        task.result()
        if cancelled is not None:
            raise cancelled


def _resolve(found: asyncio.Future[None]) -> None:
    if not found.done():
        found.set_result(None)


class Trio:
    """trio."""

    name = "trio"

    def __init__(self) -> None:
        import trio

        self.trio = trio
        self.Event = trio.Event
        self.Cancelled = trio.Cancelled
        self.sleep = trio.sleep

    def key(self) -> Any:
        """What stands for the loop that runs."""
        return self.trio.lowlevel.current_root_task()

    async def readable(self, fd: int) -> None:
        """Wait until there is something to read."""
        await self._on(fd, self.trio.lowlevel.wait_readable)

    async def writable(self, fd: int) -> None:
        """Wait until there is room to write."""
        await self._on(fd, self.trio.lowlevel.wait_writable)

    async def _on(self, fd: int, wait: Callable[[int], Awaitable[None]]) -> None:
        own = os.dup(fd)  # one task may wait at an fd
        try:
            await wait(own)
        finally:
            close(own)

    async def within(self, seconds: float, function: Callable[[], Awaitable[Any]]) -> bool:
        """Whether a function ends in this time; it is cancelled if not."""
        with self.trio.move_on_after(seconds) as scope:
            await function()
        return not scope.cancelled_caught

    async def shielded(self, function: Callable[[], Awaitable[Any]]) -> None:
        """Run a function to its end, even when this is cancelled."""
        with self.trio.CancelScope(shield=True):
            await function()


class _Loops:
    trio: Trio | None = None


def _runs_in(trio: Any) -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def loop() -> Any:
    """The kind of loop that this code runs in.

    Raises:
        RuntimeError: it runs in none.
    """
    trio = sys.modules.get("trio")
    if trio is not None and _runs_in(trio):
        _Loops.trio = _Loops.trio or Trio()
        return _Loops.trio
    if asyncio._get_running_loop() is None:
        raise RuntimeError("earlyfork.aio is used in an event loop: asyncio's or trio's")
    return Asyncio
