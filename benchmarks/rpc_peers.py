"""What others need for the same calls as `rpc.py`: a trivial one, and 16 in flight.

Each gives `(call, flight, close)`: functions of a number of calls, or None where there is no such
thing. A peer that is not installed raises ImportError, and is left out by name.
"""

from __future__ import annotations

import multiprocessing
import operator
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Calls = Callable[[int], None] | None
    Peer = tuple[Calls, Calls, Callable[[], object]]


def in_flight(ask: Callable[[int], Any], answer: Callable[[Any], object], count: int) -> None:
    """Ask so often, with 16 unanswered."""
    asked: deque[Any] = deque()
    for number in range(count):
        if len(asked) == 16:
            answer(asked.popleft())
        asked.append(ask(number))
    while asked:
        answer(asked.popleft())


def one_by_one(call: Callable[[int], object], count: int) -> None:
    """Wait for each answer."""
    for number in range(count):
        call(number)


def _serve(end: Any, other: Any) -> None:
    other.close()  # or it would never see its end
    try:
        while True:
            a, b = end.recv()
            end.send(a + b)
    except EOFError:
        return


def connection() -> Peer:
    """Multiprocessing's Connection, with a loop of one's own at the other end: no rpc."""
    context = multiprocessing.get_context("fork")
    near, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, near), daemon=True)
    process.start()
    far.close()

    def ask(number: int) -> None:
        near.send((number, 1))

    def call(number: int) -> None:
        ask(number)
        near.recv()

    def close() -> None:
        near.close()
        process.join()

    return (
        lambda count: one_by_one(call, count),
        lambda count: in_flight(ask, lambda _: near.recv(), count),
        close,
    )


def mp_pool() -> Peer:
    """multiprocessing.Pool with one worker."""
    pool = multiprocessing.get_context("fork").Pool(1)

    def ask(number: int) -> Any:
        return pool.apply_async(operator.add, (number, 1))

    def close() -> None:
        pool.terminate()
        pool.join()

    return (
        lambda count: one_by_one(lambda number: ask(number).get(), count),
        lambda count: in_flight(ask, lambda found: found.get(), count),
        close,
    )


def _executor(pool: Any) -> Peer:
    def ask(number: int) -> Any:
        return pool.submit(operator.add, number, 1)

    return (
        lambda count: one_by_one(lambda number: ask(number).result(), count),
        lambda count: in_flight(ask, lambda found: found.result(), count),
        pool.shutdown,
    )


def executor() -> Peer:
    """ProcessPoolExecutor with one worker."""
    from concurrent.futures import ProcessPoolExecutor

    return _executor(ProcessPoolExecutor(1, multiprocessing.get_context("fork")))


def loky() -> Peer:
    """Loky's executor with one worker."""
    import loky as module

    return _executor(module.get_reusable_executor(max_workers=1))


def execnet() -> Peer:
    """One channel of execnet to a loop at the other end."""
    import execnet as module

    group = module.Group()
    gateway = group.makegateway("popen")
    channel = gateway.remote_exec("for a, b in channel: channel.send(a + b)")

    def ask(number: int) -> None:
        channel.send((number, 1))

    def call(number: int) -> None:
        ask(number)
        channel.receive()

    return (
        lambda count: one_by_one(call, count),
        lambda count: in_flight(ask, lambda _: channel.receive(), count),
        lambda: group.terminate(1),
    )


def anyio() -> Peer:
    """anyio.to_process.run_sync, on asyncio; with the start of a loop and of a worker in it."""
    import anyio as module
    from anyio import to_process

    async def calls(count: int) -> None:
        for number in range(count):
            await to_process.run_sync(operator.add, number, 1)

    return lambda count: module.run(calls, count), None, lambda: None


#: In the order of the table.
PEERS: dict[str, Callable[[], Peer]] = {
    "mp.Connection": connection,
    "mp.Pool": mp_pool,
    "ProcessPoolExecutor": executor,
    "loky": loky,
    "execnet": execnet,
    "anyio.to_process": anyio,
}
