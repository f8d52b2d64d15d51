"""A pool of pebble's, with a task that takes too long."""

import concurrent.futures
import signal

from pebble import ProcessPool

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def square(x):
    return x * x


def forever():
    signal.pause()


if __name__ == "__main__":
    with ProcessPool(2, context=ctx) as pool:
        print(list(pool.map(square, range(4)).result()))
        late = pool.schedule(forever, timeout=0.2)
        try:
            late.result()
        except concurrent.futures.TimeoutError:
            print("ended in time")
        print(pool.schedule(square, args=(5,)).result())
