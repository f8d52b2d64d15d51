"""Jobs with random kills, cancels, timeouts and resizes: each one ends in exactly one way.

    python tests/soak_pool.py [JOBS]

At the end every job is accounted for, by what its future gives and by its callback, which came
once. Then no process, fd or thread may be left, and the program must not have grown. SOAK_SEED
makes the same choices again, as far as chance was the program's own. Exit status 0, or 1 and what
is wrong.
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as a main program has it

import collections
import functools
import gc
import os
import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pool_work as work
import rpc_work
import support
from earlyfork.pool import Pool, WorkerDied
from earlyfork.rpc import CallCancelled, CallTimeout

if TYPE_CHECKING:
    from earlyfork.pool import Job

#: How much the program may grow from its warm state, in KiB.
GROWTH = 8_000
#: Jobs that are open at once.
OPEN = 300
SLEEP = 0.0005

seed = int(os.environ.get("SOAK_SEED", "0")) or int(time.time())
chance = random.Random(seed)
ends: collections.Counter[str] = collections.Counter()
over = threading.Event()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4


def killer(pools: list[Pool]) -> None:
    """Kill a worker now and then."""
    choose = random.Random(seed + 1)
    while not over.wait(choose.random() * 0.5):
        for worker in list(choose.choice(pools)._core.workers):
            if choose.random() < 0.3:
                try:
                    worker._process.kill()
                except earlyfork.EarlyForkError:  # its template is gone, and it is lost
                    ends["lost"] += 1


def new_job(pool: Pool, number: int) -> tuple[Job, Any]:
    """A job, and what its result is to be."""
    options = pool.options(
        priority=chance.choice((0, 0, 1)),
        retries=chance.choice((0, 0, 0, 1)),
        timeout=chance.choice((None, None, None, 5)),
    )
    kind = chance.random()
    if kind < 0.9:
        return options.submit(rpc_work.echo, number), number
    if kind < 0.93:
        data = bytes(chance.choice((10, 70_000, 300_000)))
        return options.submit(rpc_work.echo, data), data
    if kind < 0.96:
        return options.submit("time.sleep", chance.random() * SLEEP), None
    if kind < 0.97:
        return options.submit(rpc_work.fails, "value"), ValueError
    if kind < 0.98:
        return pool.options(timeout=0.01).submit(rpc_work.wait_for_ever), CallTimeout
    if kind < 0.983:
        return options.submit(os._exit, 7), WorkerDied
    if kind < 0.986:
        return options.submit(rpc_work.leave), "bye"
    return options.submit(work.noted), None


def tell(told: bytearray, number: int, _job: Job) -> None:
    """A job's callback has come."""
    told[number] += 1


def settle(job: Job, wanted: Any) -> None:
    """A job must have ended as it should, or by a death, or since it was cancelled."""
    try:
        found = job.result(60)
    except CallCancelled:
        assert job.cancelled()
        ends["cancelled"] += 1
    except WorkerDied:
        ends["died"] += 1
    except CallTimeout:
        ends["late"] += 1
        assert wanted is CallTimeout or job.limit == 5, (job, wanted)
    except ValueError:
        assert wanted is ValueError
        ends["failed"] += 1
    else:
        assert found == wanted, (job, wanted)
        ends["answered"] += 1


def main(count: int) -> None:
    pools = [
        Pool(max_workers=2),
        Pool(max_workers=2, load=8, max_tasks=500),
        Pool(max_workers=1, concurrency=3, load=5, idle_timeout=0.05),
    ]
    told = bytearray(count)  # how often each job's callback came
    thread = threading.Thread(target=killer, args=(pools,))
    thread.start()
    jobs: collections.deque[tuple[Job, Any]] = collections.deque()
    warm = fds = given = 0
    while given < count or jobs:
        while given < count and len(jobs) < OPEN:
            job, wanted = new_job(chance.choice(pools), given)
            job.add_done_callback(functools.partial(tell, told, given))
            jobs.append((job, wanted))
            given += 1
            if chance.random() < 0.03:
                chance.choice(jobs)[0].cancel()
            if chance.random() < 0.001:
                pools[0].resize(chance.choice((1, 2, 3)))
        for _ in range(min(len(jobs), chance.randrange(OPEN))):
            settle(*jobs.popleft())
        if not warm and given > count // 4:
            gc.collect()
            warm, fds = resident(), len(os.listdir("/proc/self/fd"))
    over.set()
    thread.join()
    support.wait_until(lambda: 0 not in told)
    assert set(told) == {1}
    assert sum(ends.values()) - ends["lost"] == count, ends
    for pool in pools:
        stats = pool.stats()
        assert (stats.running, stats.waiting) == (0, 0), stats
    gc.collect()
    grown = resident() - warm
    now = len(os.listdir("/proc/self/fd"))
    for pool in pools:
        pool.shutdown()
    print(f"seed {seed}: {dict(ends)}; grown by {grown} KiB; fds {fds} and {now}")
    assert grown < GROWTH, grown
    assert abs(now - fds) < 40, (fds, now)
    support.wait_until(lambda: threading.active_count() == 1)
    if os.getsid(0) != os.getpid():  # others are here, too
        return
    left = support.left_in_session(
        {os.getpid(), *[getattr(t, "pid", t) for t in earlyfork.status().templates]}
    )
    assert not left, left


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    print("all well")
