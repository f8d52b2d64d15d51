"""What event loops do badly by themselves: fds that are closed, several loops, slow callbacks."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import rpc_work as work
import support
from earlyfork import aio, rpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Error:
    """What a function raised."""

    error: BaseException | None = None


def keeping(into: Error, function: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
    async def keep() -> None:
        try:
            await function()
        except Exception as error:
            into.error = error

    return keep


def closer(on: Any, close: Callable[[], Any], fds: list[int]) -> Callable[[], Awaitable[None]]:
    """Closes something after a moment, and opens other files under the same numbers."""

    async def later() -> None:
        await on.within(0.05, forever)
        found = close()
        if found is not None:
            await found
        fds.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(8))

    async def forever() -> None:
        await aio.wait(never)

    never = earlyfork.new()
    return later


def test_a_process_that_is_closed_while_it_is_waited_for(on: Any) -> None:
    async def main() -> None:
        process, got, fds = earlyfork.new(), Error(), []  # type: ignore[var-annotated]
        with process.run(work.send_on_eof):
            pid = process.pid
            await on.all(keeping(got, lambda: aio.wait(process)), closer(on, process.close, fds))
            assert isinstance(got.error, earlyfork.ProcessStateError)
        for fd in fds:
            os.close(fd)  # nobody else has
        assert support.gone_within(pid)

    on.run(main)


def test_a_stream_that_is_closed_while_it_is_waited_at(on: Any) -> None:
    async def main() -> None:
        process, got, fds = earlyfork.new(), Error(), []  # type: ignore[var-annotated]
        stream = aio.SocketStream(process.run(work.send_on_eof))
        await on.all(keeping(got, stream.receive), closer(on, stream.aclose, fds))
        assert isinstance(got.error, earlyfork.ProcessStateError)
        with pytest.raises(earlyfork.ProcessStateError, match="closed"):
            await stream.send(b"x")
        for fd in fds:
            os.close(fd)
        assert await aio.wait(process) == 0

    on.run(main)


def test_a_worker_that_is_killed_while_many_wait(on: Any) -> None:
    """Each of them is told, and none twice."""

    async def main() -> None:
        client = aio.Client(earlyfork.new())
        await client.call(work.echo, 1)
        got = [Error() for _ in range(5)]
        waits = [keeping(error, lambda: client.call(work.spin)) for error in got]
        fds: list[int] = []
        await on.all(*waits, closer(on, client.kill, fds))
        assert [type(error.error) for error in got] == [rpc.WorkerDied] * 5
        await client.join()
        for fd in fds:
            os.close(fd)

    on.run(main)


def test_two_loops_in_two_threads(on: Any) -> None:
    """Each has its own clients, and its own workers of `run_sync`; both wait for one process."""
    shared = earlyfork.new()
    sock = shared.run(work.send_on_eof)
    both = threading.Barrier(2)
    pids: dict[str, set[int]] = {}
    errors: list[BaseException] = []

    async def main() -> None:
        async with aio.Client(earlyfork.new()) as client:
            both.wait(support.PATIENCE)
            found = {await client.call(os.getpid)}
            for number in range(50):
                assert await client.call(work.echo, number) == number
            found.add(await aio.run_sync(os.getpid))
            pids[threading.current_thread().name] = found
        both.wait(support.PATIENCE)
        sock.close()
        assert await aio.wait(shared) == 0

    def run() -> None:
        try:
            on.run(main)
        except BaseException as error:
            errors.append(error)
            both.abort()

    threads = [threading.Thread(target=run, name=name) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(support.PATIENCE)
    if errors:
        raise errors[0]
    assert not pids["a"] & pids["b"]


def test_no_callback_is_slow(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio's debug mode sees it, which tells of what takes more than 10 ms.

    On a busy machine anything may: after ten tries it is what a callback computes that counts.
    """

    async def main(*, by_itself: bool) -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        if by_itself:
            monkeypatch.setattr(loop, "time", time.thread_time)
        async with aio.Client(earlyfork.new()) as client:
            await asyncio.gather(*(client.call(work.echo, number) for number in range(50)))
            assert len(await client.call(work.echo, bytes(1_000_000))) == 1_000_000
            assert [n async for n in client.stream("builtins.range", 50)] == [*range(50)]
            with pytest.raises(rpc.WorkerDied):
                await client.call(os._exit, 1)

    with caplog.at_level(logging.WARNING, "asyncio"):
        for by_itself in (*[False] * 10, True):
            caplog.clear()
            asyncio.run(main(by_itself=by_itself), debug=True)
            slow = [text for text in caplog.messages if "took" in text]
            if not slow:
                return
    raise AssertionError(slow)
