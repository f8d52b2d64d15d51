"""A worker has pools of its own, by both ways to ask for the method."""

import multiprocessing as mp

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def double(x):
    return 2 * x


def nest(q):
    with mp.get_context("earlyfork").Pool(1) as pool:
        q.put(pool.map(double, [1, 2]))
    with mp.Pool(1) as pool:
        q.put(pool.map(double, [3]))
    q.put(mp.get_start_method())


if __name__ == "__main__":
    q = ctx.SimpleQueue()
    p = ctx.Process(target=nest, args=(q,))
    p.start()
    print(q.get(), q.get(), q.get())
    p.join()
    assert p.exitcode == 0
