"""Calls against a bare socketpair with pickle between the same two processes, as ratios of one run.

    python benchmarks/rpc.py [ROUNDS]

Rounds alternate between the bare pair and a client, so that a busy machine slows both. Look at the
best of the rounds: it hardly moves under load. docs/calls.md has the last results.
"""

from __future__ import annotations

import asyncio
import operator
import os
import pickle
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import rpc_peers

import earlyfork
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 2000
#: Figure: what must be reached, and the aim.
WANTED = {
    "call": "<= 1.5 (1.2)",
    "asyncio": "<= 2.0 (1.65)",
    "trio": "<= 2.4 (2.0)",
    "16 in flight, rate": ">= 0.6 (0.9)",
    "10 MB array": "<= 0.4 in-band (0.2)",
}


def bare_server(end: socket.socket) -> None:
    """Answers additions, as little as can be."""
    held = b""
    while True:
        data = end.recv(65536)
        if not data:
            os._exit(0)
        held += data
        while len(held) >= 4:
            size = int.from_bytes(held[:4], "big")
            if len(held) < 4 + size:
                break
            a, b = pickle.loads(held[4 : 4 + size])
            held = held[4 + size :]
            body = pickle.dumps(a + b)
            end.send(len(body).to_bytes(4, "big") + body)


class Bare:
    """The pair, with a forked process at its other end."""

    def __init__(self) -> None:
        self.sock, far = socket.socketpair()
        if os.fork() == 0:
            self.sock.close()
            bare_server(far)
        far.close()
        self.held = b""

    def ask(self, a: int, b: int) -> None:
        body = pickle.dumps((a, b))
        self.sock.send(len(body).to_bytes(4, "big") + body)

    def answer(self) -> Any:
        while len(self.held) < 4 or len(self.held) < 4 + int.from_bytes(self.held[:4], "big"):
            self.held += self.sock.recv(65536)
        size = int.from_bytes(self.held[:4], "big")
        found = pickle.loads(self.held[4 : 4 + size])
        self.held = self.held[4 + size :]
        return found

    def trivial(self) -> None:
        for number in range(COUNT):
            self.ask(number, 1)
            self.answer()

    def flight(self) -> None:
        for number in range(COUNT):
            if number >= 16:
                self.answer()
            self.ask(number, 1)
        for _ in range(16):
            self.answer()


def trivial(client: rpc.Client) -> None:
    for number in range(COUNT):
        client.call(operator.add, number, 1)


def flight(client: rpc.Client) -> None:
    calls: deque[rpc.Call] = deque()
    for number in range(COUNT):
        if len(calls) == 16:
            calls.popleft().result()
        calls.append(client.submit(operator.add, number, 1))
    while calls:
        calls.popleft().result()


def loops() -> dict[str, Callable[[], float]]:
    """A round of trivial calls on each kind of event loop; only the calls are timed."""
    try:
        from earlyfork import aio
    except ImportError:
        return {}

    async def round_of_calls() -> float:
        async with aio.Client(earlyfork.new()) as client:
            for _ in range(50):
                await client.call(operator.add, 1, 1)
            begin = time.perf_counter()
            for number in range(COUNT):
                await client.call(operator.add, number, 1)
            return time.perf_counter() - begin

    found: dict[str, Callable[[], float]] = {"asyncio": lambda: asyncio.run(round_of_calls())}
    try:
        import trio
    except ImportError:
        return found
    found["trio"] = lambda: trio.run(round_of_calls)
    return found


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def in_band(client: rpc.Client, data: bytes) -> None:
    """What a client does whose pickles hold the array: both copies and the parsing."""
    assert len(client.call("_pickle.dumps", pickle.loads(pickle.dumps(data)), 4)) > len(data)


def main() -> None:
    """Measure, and print one line for each figure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    bare = Bare()
    client = rpc.Client(earlyfork.new())
    kinds = loops()
    best: dict[str, float] = {}

    def keep(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, seconds), seconds)

    for _ in range(rounds):
        keep("bare", timed(bare.trivial))
        keep("call", timed(lambda: trivial(client)))
        keep("bare, 16", timed(bare.flight))
        keep("16", timed(lambda: flight(client)))
        for name, function in kinds.items():
            keep(name, function())
    print(f"{'bare pair':22} {best['bare'] / COUNT * 1e6:7.1f} us")
    ratios = {name: best[name] / best["bare"] for name in ("call", *kinds)}
    ratios["16 in flight, rate"] = best["bare, 16"] / best["16"]
    ratios.update(arrays(client, rounds))
    for name, ratio in ratios.items():
        print(f"{name:22} {ratio:7.2f}    {WANTED[name]}")
    client.close()
    client.join()
    beside(bare, max(3, rounds // 3))
    bare.sock.close()


def beside(bare: Bare, rounds: int) -> None:
    """The peers, against the bare pair in rounds of their own."""
    print(f"\n{'':22} {'call':>7} {'16, rate':>9}")
    for name, begin in rpc_peers.PEERS.items():
        try:
            call, flight, close = begin()
        except ImportError as error:
            print(f"{name:22} not here: {error}")
            continue
        best: dict[str, float] = {}
        for _ in range(rounds):
            each: dict[str, Callable[[], object] | None] = {
                "bare": bare.trivial,
                "bare, 16": bare.flight,
                "call": call and (lambda call=call: call(COUNT)),
                "16": flight and (lambda flight=flight: flight(COUNT)),
            }
            for what, function in each.items():
                if function is not None:
                    best[what] = min(best.get(what, 1e9), timed(function))
        close()
        rate = f"{best['bare, 16'] / best['16']:9.2f}" if "16" in best else f"{'-':>9}"
        print(f"{name:22} {best['call'] / best['bare']:7.2f} {rate}")


def arrays(client: rpc.Client, rounds: int) -> dict[str, float]:
    """An array of 10 MB there and back, against the same as bytes inside the pickle."""
    try:
        import numpy as np
    except ImportError:
        return {}
    array = np.zeros(10_000_000, dtype=np.uint8)
    data = pickle.dumps(array)
    out = min(timed(lambda: client.call(operator.pos, array)) for _ in range(rounds))
    inside = min(
        timed(lambda: pickle.loads(client.call("copy.copy", pickle.dumps(array, 4))))
        for _ in range(rounds)
    )
    assert data
    return {"10 MB array": out / inside}


if __name__ == "__main__":
    main()
