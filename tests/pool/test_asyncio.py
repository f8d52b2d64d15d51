"""A pool as the executor of an asyncio loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import pool_work as work
import support

if TYPE_CHECKING:
    from pathlib import Path


def test_run_in_executor(pool: Any) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(pool, abs, -n) for n in range(100)]
        return list(await asyncio.gather(*jobs))

    assert asyncio.run(main()) == list(range(100))


def test_a_cancelled_wait_reaches_the_process(pool: Any, tmp_path: Path) -> None:
    began = tmp_path / "began"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(pool, abs, 1)
        waiting = loop.run_in_executor(pool, work.mark_and_sleep, str(began))
        while not began.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waiting, 0.01)
        assert await loop.run_in_executor(pool, abs, -1) == 1

    asyncio.run(main())
    support.wait_until(lambda: pool.stats().running == 0)
    assert pool.stats().cancelled == 1
    assert pool.stats().deaths == 0
