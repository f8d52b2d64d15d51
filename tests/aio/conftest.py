"""The event loops that each test of this folder runs in."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

if importlib.util.find_spec("uvloop"):
    # libuv makes a pipe for all loops of a process when the first one is made.
    importlib.import_module("uvloop").new_event_loop().close()


class OnAsyncio:
    """Runs a test in an event loop of asyncio, which complains about everything."""

    def __init__(self, new_loop: Any = None) -> None:
        self.new_loop = new_loop or asyncio.new_event_loop

    def run(self, main: Any) -> Any:
        loop = self.new_loop()
        try:
            loop.set_debug(True)
            return loop.run_until_complete(asyncio.wait_for(main(), support.PATIENCE))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def all(self, *functions: Any) -> list[Any]:
        return list(await asyncio.gather(*(function() for function in functions)))

    async def within(self, seconds: float, function: Any) -> bool:
        """Whether it ended; else it was cancelled."""
        try:
            await asyncio.wait_for(function(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        return True

    async def cancelled(self, began: Path, function: Any, times: int = 1) -> None:
        """Cancel it once it has made that file; and then again."""
        task = asyncio.ensure_future(function())
        while not began.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.005)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

    async def cancelled_twice(self, began: Path, function: Any) -> None:
        await self.cancelled(began, function, 2)


class OnTrio:
    def __init__(self) -> None:
        self.trio = importlib.import_module("trio")

    def run(self, main: Any) -> Any:
        async def limited() -> Any:
            with self.trio.fail_after(support.PATIENCE):
                return await main()

        return self.trio.run(limited, strict_exception_groups=True)

    async def all(self, *functions: Any) -> list[Any]:
        found: dict[int, Any] = {}

        async def keep(place: int, function: Any) -> None:
            found[place] = await function()

        async with self.trio.open_nursery() as nursery:
            for place, function in enumerate(functions):
                nursery.start_soon(keep, place, function)
        return [found[place] for place in range(len(functions))]

    async def within(self, seconds: float, function: Any) -> bool:
        with self.trio.move_on_after(seconds) as scope:
            await function()
        return not scope.cancelled_caught

    async def cancelled(self, began: Path, function: Any) -> None:
        """Cancel it once it has made that file."""

        async def begin() -> None:
            await function()
            raise AssertionError("it was not cancelled")

        async with self.trio.open_nursery() as nursery:
            nursery.start_soon(begin)
            while not began.exists():  # noqa: ASYNC240 - another process makes it
                await self.trio.sleep(0.005)
            nursery.cancel_scope.cancel()

    async def cancelled_twice(self, began: Path, function: Any) -> None:
        with self.trio.CancelScope() as outer:
            await self.cancelled(began, function)
            outer.cancel()


def _on(name: str) -> Any:
    if name == "trio":
        return OnTrio()
    if name == "uvloop":
        return OnAsyncio(importlib.import_module("uvloop").new_event_loop)
    return OnAsyncio()


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def on(request: pytest.FixtureRequest) -> Any:
    name = request.param
    if name != "asyncio":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(name)
    return _on(name)
