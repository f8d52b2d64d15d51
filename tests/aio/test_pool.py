"""aio.Pool: the same pool, driven by an event loop."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import pool_work as work
import rpc_work
import support
from earlyfork import aio
from earlyfork.pool import PoolBroken, WorkerDied
from earlyfork.rpc import CallTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Run = Callable[..., Any]


def with_pool(on: Any, test: Callable[[Any], Any], **options: Any) -> None:
    async def main() -> None:
        pool = aio.Pool(**{"max_workers": 2, **options})
        try:
            await test(pool)
        finally:
            pool.kill()
            await pool.shutdown()

    on.run(main)


def test_calls_and_errors(on: Any) -> None:
    async def main() -> None:
        async with aio.Pool(max_workers=2) as pool:
            assert await pool.call(rpc_work.args_of, 1, a=2) == ((1,), {"a": 2})
            with pytest.raises(ZeroDivisionError):
                await pool.call("operator.truediv", 1, 0)
            with pytest.raises(WorkerDied, match="status 3"):
                await pool.call(os._exit, 3)
            assert await on.all(*[lambda n=n: pool.call(abs, -n) for n in range(50)]) == list(
                range(50)
            )
            with pytest.raises(CallTimeout):
                await pool.options(timeout=0.05).call("time.sleep", 60)
            assert pool.stats().done > 50
        with pytest.raises(RuntimeError, match="shut down"):
            await pool.call(abs, 1)
        assert pool.stats().workers == 0

    on.run(main)


def test_map(on: Any) -> None:
    taken = 0

    async def numbers() -> AsyncIterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield -taken

    async def test(pool: Any) -> None:
        assert [n async for n in pool.map(abs, range(-50, 0))] == list(range(50, 0, -1))
        assert sorted([n async for n in pool.map(abs, range(-50, 0), ordered=False)]) == list(
            range(1, 51)
        )
        assert [n async for n in pool.map(abs, [])] == []
        found = []
        source = numbers()
        results = pool.map(abs, source, buffersize=8)
        async for number in results:
            found.append(number)
            if number == 20:
                break
        await results.aclose()
        await source.aclose()  # type: ignore[attr-defined]
        assert found == list(range(1, 21))
        assert taken <= 28
        assert pool.stats().running == 0

    with_pool(on, test)


def test_a_cancelled_task_ends_its_job(on: Any, tmp_path: Path) -> None:
    async def test(pool: Any) -> None:
        began = tmp_path / "began"
        pid = await pool.call(os.getpid)
        await on.cancelled(began, lambda: pool.call(work.mark_and_sleep, str(began)))
        assert pool.stats().running == 0
        assert await pool.call(os.getpid) == pid

    with_pool(on, test, max_workers=1)


@pytest.mark.parametrize("what", ["block", "stubborn"])
def test_one_that_does_not_end_is_killed(on: Any, tmp_path: Path, what: str) -> None:
    async def test(pool: Any) -> None:
        began = tmp_path / "began"
        pid = await pool.call(os.getpid)
        await on.cancelled_twice(began, lambda: pool.call(getattr(rpc_work, what), str(began)))
        assert not support.alive(pid)
        assert await pool.call(os.getpid) != pid

    with_pool(on, test, max_workers=1)


def test_streams(on: Any) -> None:
    async def test(pool: Any) -> None:
        assert [n async for n in pool.stream(rpc_work.count, 40, window=3)] == list(range(40))
        async with pool.stream(rpc_work.count, 10**9) as items:
            async for number in items:
                if number == 5:
                    break
        assert await pool.call(abs, -1) == 1

    with_pool(on, test)


def test_workers(on: Any) -> None:
    deaths: list[Any] = []

    async def test(pool: Any) -> None:
        await pool.warm()
        pids = await pool.broadcast(os.getpid)
        assert len(set(pids)) == 2
        os.kill(pids[0], signal.SIGKILL)
        while not pool.stats().deaths:
            assert await pool.call(os.getpid) != pids[0]
        pool.resize(1)
        assert await pool.call(abs, -1) == 1
        await pool.warm()

    with_pool(on, test, on_death=deaths.append, idle_timeout=0.2, max_queue=1, load=2)
    assert [death.returncode for death in deaths] == [-signal.SIGKILL]


def test_a_failing_init(on: Any) -> None:
    async def test(pool: Any) -> None:
        for _ in range(3):
            with pytest.raises(WorkerDied):
                await pool.call(abs, 1)
        with pytest.raises(PoolBroken):
            await pool.call(abs, 1)

    with_pool(on, test, max_workers=1, init=work.fail_init)


def test_large_values(on: Any) -> None:
    """Both write more than there is room for."""

    async def test(pool: Any) -> None:
        data = os.urandom(8_000_000)
        assert await on.all(*[lambda: pool.call(rpc_work.echo, data)] * 3) == [data] * 3

    with_pool(on, test)


def test_an_exception_in_the_block_ends_what_runs(on: Any) -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with aio.Pool(max_workers=1) as pool:
                job = pool.stream(rpc_work.count, 10**9)
                async for _ in job:
                    raise KeyError
        assert pool.stats().workers == 0

    on.run(main)
