"""A pool against a bare socketpair with pickle between two processes, as ratios of one run.

    python benchmarks/pool.py [ROUNDS]

Rounds alternate between the bare pair and the pool, so that a busy machine slows both. Look at the
best of the rounds: it hardly moves under load. docs/pool.md has the last results.
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as a main program has it

import operator
import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from rpc import COUNT, Bare, timed

from earlyfork.pool import Pool, WorkerDied

if TYPE_CHECKING:
    from earlyfork.pool import Job

MAPPED = 10_000
#: Figure: what must be reached, and the aim.
WANTED = {
    "submit + result": "<= 3 (2)",
    "16 in flight, rate": ">= 0.3 (0.6)",
    "map of 10 000, rate": ">= 0.3 (0.6)",
    "the same, load=8": ">= 0.3 (0.6)",
    "the same, chunks": "",
    "Pool() to result, ms": "<= 6 (3)",
    "death to answer, ms": "<= 6 (2)",
}


def trivial(pool: Pool) -> None:
    for number in range(COUNT):
        pool.submit(operator.add, number, 1).result()


def flight(pool: Pool) -> None:
    jobs: deque[Job] = deque()
    for number in range(COUNT):
        if len(jobs) == 16:
            jobs.popleft().result()
        jobs.append(pool.submit(operator.add, number, 1))
    while jobs:
        jobs.popleft().result()


def mapped(pool: Pool, chunksize: int = 1) -> None:
    ones = [1] * MAPPED
    for _ in pool.map(operator.add, range(MAPPED), ones, chunksize=chunksize):
        continue


def first_result() -> float:
    begin = time.perf_counter()
    pool = Pool(max_workers=1)
    pool.submit(operator.add, 1, 1).result()
    took = time.perf_counter() - begin
    pool.shutdown()
    return took * 1e3


def death_to_answer(pool: Pool) -> float:
    """From the moment at which the worker dies, which it tells by the clock of both."""
    pid = pool.submit(os.getpid).result()
    begin = time.perf_counter()
    try:
        pool.submit(os._exit, 1).result()
    except WorkerDied:
        assert pool.submit(os.getpid).result() != pid
    return (time.perf_counter() - begin) * 1e3


def main() -> None:
    """Measure, and print one line for each figure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    assert earlyfork
    bare = Bare()
    one, many = Pool(max_workers=1), Pool(max_workers=1, load=16)
    two, loaded = Pool(max_workers=2), Pool(max_workers=2, load=8)
    two.warm()
    loaded.warm()
    best: dict[str, float] = {}

    def keep(name: str, seconds: float) -> None:
        best[name] = min(best.get(name, seconds), seconds)

    for _ in range(rounds):
        keep("bare", timed(bare.trivial))
        keep("submit + result", timed(lambda: trivial(one)))
        keep("bare, 16", timed(bare.flight))
        keep("16", timed(lambda: flight(many)))
        keep("map", timed(lambda: mapped(two)))
        keep("loaded", timed(lambda: mapped(loaded)))
        keep("chunks", timed(lambda: mapped(two, 32)))
        keep("Pool() to result, ms", first_result())
        keep("death to answer, ms", death_to_answer(one))
    print(f"{'bare pair':22} {best['bare'] / COUNT * 1e6:7.1f} us")
    print(f"{'bare pair, 16':22} {best['bare, 16'] / COUNT * 1e6:7.1f} us")
    each = best["bare, 16"] / COUNT
    found = {
        "submit + result": best["submit + result"] / best["bare"],
        "16 in flight, rate": best["bare, 16"] / best["16"],
        "map of 10 000, rate": each / (best["map"] / MAPPED),
        "the same, load=8": each / (best["loaded"] / MAPPED),
        "the same, chunks": each / (best["chunks"] / MAPPED),
        "Pool() to result, ms": best["Pool() to result, ms"],
        "death to answer, ms": best["death to answer, ms"],
    }
    for name, ratio in found.items():
        print(f"{name:22} {ratio:7.2f}    {WANTED[name]}")
    for pool in (one, many, two, loaded):
        pool.shutdown()
    bare.sock.close()


if __name__ == "__main__":
    main()
