"""Has children by WHAT, `idle` or `busy`, which tell their pids and never end."""

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def spin(_=None):
    print(os.getpid(), flush=True)
    while sys.argv[2] == "busy":
        pass
    signal.pause()


def nest():
    print(os.getpid(), flush=True)
    p = ctx.Process(target=spin)
    p.start()
    spin()


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "pool":
        pool = ctx.Pool(2)
        pool.map_async(spin, range(2), chunksize=1)
    elif what == "executor":
        pool = ProcessPoolExecutor(2, mp_context=ctx)
        for _ in range(2):
            pool.submit(spin)
    else:
        for _ in range(2):
            ctx.Process(target=nest if what == "nested" else spin, daemon=True).start()
    signal.pause()
