"""A program that ends with jobs open, in the way that is asked for; its workers' pids are printed."""

import earlyfork  # noqa: F401 - forks the early template

import json
import os
import signal
import sys
import threading
from concurrent.futures import wait

from earlyfork.pool import Pool

pool = Pool(max_workers=2)
pool.warm()
print(json.dumps(pool.broadcast("os.getpid")), flush=True)
jobs = [pool.submit("time.sleep", 60) for _ in range(5)]
jobs[1].add_done_callback(print)
waiting = threading.Thread(target=lambda: wait([jobs[0]]) and jobs[0].done(), daemon=True)
waiting.start()
how = sys.argv[1]
if how == "del":
    del pool
if how == "raise":
    raise SystemExit(3)
if how == "with":
    with pool:
        raise SystemExit(3)
if how == "_exit":
    os._exit(3)
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "terminate":
    pool.terminate()
    assert {type(job.exception()).__name__ for job in jobs if not job.cancelled()} == {"WorkerDied"}
    pool.shutdown()
if how == "twice":
    try:
        with pool:
            print(json.dumps("waits"), flush=True)
            jobs[4].result()
    except KeyboardInterrupt:
        os._exit(4)
if how == "shutdown twice":
    try:
        print(json.dumps("waits"), flush=True)
        pool.shutdown()
    except KeyboardInterrupt:
        assert pool.stats().workers <= 2
        sys.exit(4)
