"""A pool where there is only poll, as on systems other than Linux, or under gevent."""

import earlyfork  # noqa: F401 - forks the early template

import os
import select
import threading

del select.epoll

from earlyfork.pool import Pool, WorkerDied

told = threading.Event()
with Pool(max_workers=2, load=2) as pool:
    assert list(pool.map(abs, range(-100, 0))) == list(range(100, 0, -1))
    pool.submit(abs, 1).add_done_callback(lambda _: told.set())
    assert told.wait(10)
    assert isinstance(pool.submit(os._exit, 3).exception(), WorkerDied)
    job = pool.options(timeout=0.05).submit("time.sleep", 60)
    assert isinstance(job.exception(), TimeoutError)
    data = bytes(3_000_000)
    assert pool.submit(bytes.upper, data).result() == data
print("all well")
