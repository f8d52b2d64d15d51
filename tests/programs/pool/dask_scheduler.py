"""Dask's graphs as jobs of a pool, in both of its ways. Prints "all well"."""

import earlyfork
import operator

import dask
import dask.bag
from earlyfork.pool import Pool, WorkerDied

assert earlyfork


def function_of_main(x):
    return x + 1


with Pool(max_workers=2) as pool:
    with dask.config.set(scheduler=pool):
        total = dask.delayed(operator.mul)(dask.delayed(operator.add)(1, 2), 3)
        assert total.compute() == 9
        assert pool.stats().done >= 1
    with dask.config.set(scheduler="processes", pool=pool):
        parts = [dask.delayed(function_of_main)(n) for n in range(4)]
        assert dask.delayed(sum)(parts).compute() == 10
        assert dask.bag.range(10, npartitions=3).map(lambda x: x * x).sum().compute() == 285
        try:
            dask.delayed(lambda: __import__("os")._exit(3))().compute()
        except WorkerDied as error:
            assert error.returncode == 3
        else:
            raise AssertionError("the death was not told")
        assert dask.delayed(sum)(parts).compute() == 10
print("all well")
