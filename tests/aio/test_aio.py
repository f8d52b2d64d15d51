"""Everything that waits, on asyncio, uvloop and trio: the same tests on all of them."""

from __future__ import annotations

import functools
import operator
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import rpc_work as work
import support
from earlyfork import aio, rpc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def with_client(on: Any, test: Callable[[Any], Any], **options: Any) -> None:
    async def main() -> None:
        client = aio.Client(earlyfork.new(), **options)
        try:
            await test(client)
        finally:
            client.kill()
            await client.join()
            client.process.close()

    on.run(main)


# --- processes ------------------------------------------------------------------------------


def test_two_wait_for_one(on: Any) -> None:
    async def main() -> Any:
        process = earlyfork.new()
        with process.run("rpc_work.note"):
            wait = functools.partial(aio.wait, process)
            return await on.all(wait, wait)

    assert on.run(main) == [0, 0]


def test_wait_raises_what_the_process_raised(on: Any, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        process = earlyfork.new()
        with process, process.run("rpc_work.fails"):
            await aio.wait(process, check=True)

    with pytest.raises(earlyfork.RemoteError, match="ValueError"):
        on.run(main)
    capfd.readouterr()


def test_a_wait_that_is_cancelled_leaves_the_process_alone(on: Any) -> None:
    async def main() -> None:
        process = earlyfork.new()
        with process.run("rpc_work.send_on_eof"):
            assert not await on.within(0.05, lambda: aio.wait(process))
            assert process.poll() is None
        assert await aio.wait(process) == 0

    on.run(main)


def test_ready(on: Any) -> None:
    async def main() -> None:
        process = earlyfork.new().eval("import time; time.sleep(0.05); x = 1")
        assert await aio.ready(process) is process
        process.close()
        process = earlyfork.new().eval("1 / 0")
        with pytest.raises(earlyfork.RemoteError):
            await aio.ready(process)
        process.close()

    on.run(main)


def test_run(on: Any) -> None:
    async def main() -> None:
        process = earlyfork.new()
        async with aio.run(process, "rpc_work.shout") as stream:
            data = b"abc" * 300_000
            found = bytearray()

            async def send() -> None:
                await stream.send(data)
                await stream.send_eof()

            async def receive() -> None:
                async for piece in stream:
                    found.extend(piece)

            await on.all(send, receive)
            assert bytes(found) == data.upper()
            with pytest.raises(Exception, match=r"^$|EndOfStream|end") as caught:
                await stream.receive()
            assert type(caught.value).__name__ == "EndOfStream"
        assert process.returncode == 0

    on.run(main)


def test_run_ends_what_does_not_end(on: Any) -> None:
    async def main() -> Any:
        process = earlyfork.new()
        async with aio.run(process, "rpc_work.spin_with_socket"):
            pass
        return process.returncode

    assert on.run(main) == -signal.SIGTERM


def test_a_group_waits_for_all(on: Any) -> None:
    async def main() -> list[Any]:
        processes = [earlyfork.new() for _ in range(3)]
        async with aio.group() as group:
            for process in processes:
                group.start(process, "rpc_work.send_on_eof").socket.close()
        return [process.returncode for process in processes]

    assert on.run(main) == [0, 0, 0]


def test_the_first_failure_of_a_group_ends_the_others(
    on: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    processes = [earlyfork.new() for _ in range(3)]
    streams = []

    async def main() -> None:
        async with aio.group() as group:
            streams.extend(
                group.start(process, "rpc_work.send_on_eof") for process in processes[:2]
            )
            streams.append(group.start(processes[2], "rpc_work.fails"))
            assert not await on.within(support.PATIENCE, lambda: aio.wait(processes[0]))

    with pytest.raises(earlyfork.RemoteError, match="ValueError"):
        on.run(main)
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 2 + [1]
    for stream in streams:
        stream.socket.close()
    capfd.readouterr()


def test_an_error_in_the_block_of_a_group_ends_all(on: Any) -> None:
    process = earlyfork.new()
    streams = []

    async def main() -> None:
        async with aio.group() as group:
            streams.append(group.start(process, "rpc_work.send_on_eof"))
            raise LookupError

    with pytest.raises(BaseException) as caught:
        on.run(main)
    assert "LookupError" in repr(caught.value)
    assert process.returncode == -signal.SIGTERM
    streams[0].socket.close()


def test_run_sync(on: Any) -> None:
    async def main() -> None:
        assert await aio.run_sync(operator.add, 1, 2) == 3
        pids = {await aio.run_sync("os.getpid") for _ in range(3)}
        assert len(pids) == 1
        assert os.getpid() not in pids
        with pytest.raises(ValueError, match="x"):
            await aio.run_sync(work.fails, "x")
        assert not await on.within(0.05, lambda: aio.run_sync(work.spin))
        several = [functools.partial(aio.run_sync, work.echo, n) for n in range(6)]
        assert await on.all(*several) == list(range(6))

    on.run(main)


# --- the client -----------------------------------------------------------------------------


def test_calls(on: Any) -> None:
    async def test(client: Any) -> None:
        assert await client.call(operator.add, 1, 2) == 3
        assert await client.call(work.double, 4) == 8
        calls = [functools.partial(client.call, work.echo, n) for n in range(30)]
        assert await on.all(*calls) == list(range(30))
        with pytest.raises(ValueError, match="x") as caught:
            await client.call(work.fails, "x")
        assert isinstance(caught.value.__cause__, earlyfork.RemoteError)
        await client.post(work.note, "posted")
        assert await client.call(work.notes) == ["posted"]

    with_client(on, test, window=7)


def test_the_block(on: Any) -> None:
    async def main() -> Any:
        async with aio.Client(earlyfork.new()) as client:
            assert await client.call(work.echo, 1) == 1
        with pytest.raises(earlyfork.EarlyForkError):
            await client.call(work.echo, 1)
        with pytest.raises(LookupError):
            async with aio.Client(earlyfork.new()) as killed:
                raise LookupError
        return client.process.returncode, killed.process.returncode

    assert on.run(main) == (0, -9)


def test_both_sides_write_much_at_once(on: Any) -> None:
    data = os.urandom(8_000_000)

    async def test(client: Any) -> None:
        calls = [functools.partial(client.call, work.echo, data) for _ in range(3)]
        assert await on.all(*calls) == [data] * 3

    with_client(on, test)


def test_streams(on: Any) -> None:
    async def test(client: Any) -> None:
        assert [n async for n in client.stream(work.count, 50, window=5)] == list(range(50))
        async with client.stream(work.count, 10**9) as stream:
            assert [await stream.__anext__() for _ in range(40)] == list(range(40))
        assert await client.call(work.notes) == ["closed", "closed"]
        stream = client.stream(work.breaks_off, "raise")
        assert [await stream.__anext__(), await stream.__anext__()] == [1, 2]
        with pytest.raises(ValueError, match="no third"):
            await stream.__anext__()

    with_client(on, test)


def test_a_stream_begins_beside_as_many_calls_as_may_be(on: Any) -> None:
    async def test(client: Any) -> None:
        async def stream() -> list[int]:
            return [n async for n in client.stream(work.count, 3)]

        calls = [functools.partial(client.call, "time.sleep", 0.05), stream, stream]
        assert await on.all(*calls) == [None, [0, 1, 2], [0, 1, 2]]

    with_client(on, test, window=1)


def test_events(on: Any) -> None:
    seen: list[Any] = []

    async def test(client: Any) -> None:
        events = client.events()
        assert await client.call(work.events, 2) == 2
        assert [await events.__anext__(), await events.__anext__()] == [(0,), (1,)]
        await client.post(work.events, 1)
        assert await events.__anext__() == (0,)
        await events.aclose()

    with_client(on, test)

    async def with_callback(client: Any) -> None:
        assert await client.call(work.events, 3) == 3
        assert seen == [0, 1, 2]

    with_client(on, with_callback, on_event=seen.append)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_task_that_is_cancelled_ends_its_call(on: Any, concurrency: int) -> None:
    async def test(client: Any) -> None:
        pid = await client.call("os.getpid")
        for function in (work.spin, work.wait_for_ever):
            assert not await on.within(0.05, lambda f=function: client.call(f))
            assert await client.call("os.getpid") == pid
        assert client.pending == 0

    with_client(on, test, concurrency=concurrency)


def test_cancel_twice(on: Any, tmp_path: Path) -> None:
    async def test(client: Any) -> None:
        await client.call(work.echo, 1)
        began, until = tmp_path / "began", tmp_path / "until"
        until.touch()
        await on.cancelled_twice(began, lambda: client.call(work.tidies_up, str(began), str(until)))
        assert await client.call(work.notes) == ["tidied up"]

    with_client(on, test)


def test_what_does_not_end_is_killed_after_its_grace(on: Any, tmp_path: Path) -> None:
    async def test(client: Any) -> None:
        await client.call(work.echo, 1)
        gentle, began = client.options(grace=0.1), tmp_path / "began"
        await on.cancelled(began, lambda: gentle.call(work.stubborn, str(began)))
        with pytest.raises(earlyfork.EarlyForkError):
            await client.call(work.echo, 1)
        assert client.process.returncode == -9

    with_client(on, test)


def test_a_cancel_in_the_middle_of_a_send(on: Any) -> None:
    data = os.urandom(8_000_000)

    async def test(client: Any) -> None:
        await client.call(work.echo, 1)
        for _ in range(3):
            await on.within(0.001, lambda: client.call(work.echo, data))
            assert await client.call(work.echo, "right") == "right"

    with_client(on, test)


def test_a_worker_that_dies(on: Any) -> None:
    async def test(client: Any) -> None:
        with pytest.raises(rpc.WorkerDied) as caught:
            await client.call(work.event_and_die)
        assert caught.value.returncode == 7
        assert [event async for event in client.events()] == [("last", "words")]

    with_client(on, test)


def test_the_last_words_of_a_worker(on: Any) -> None:
    async def main() -> None:
        async with aio.Client(earlyfork.new(), stderr="keep") as client:
            await client.call(work.says, "so it goes\n")
            with pytest.raises(rpc.WorkerDied) as caught:
                await client.call(os._exit, 1)
            assert caught.value.stderr == "so it goes\n"

    on.run(main)


def test_a_client_that_is_dropped(on: Any) -> None:
    """Its worker ends, and the loop does not look at the fd any more, whoever has its number."""

    async def main() -> None:
        for _ in range(5):
            client = aio.Client(earlyfork.new())
            process = client.process
            assert await client.call(work.echo, 1) == 1
            fd = client._line._sock.fileno()
            del client
            assert await aio.wait(process) in (0, -signal.SIGTERM)
            again = os.open(os.devnull, os.O_RDONLY)
            os.close(again)
            assert again <= fd

    on.run(main)


def test_outside_of_a_loop() -> None:
    process = earlyfork.new()
    with pytest.raises(RuntimeError, match="event loop"):
        aio.Client(process)
    process.close()
