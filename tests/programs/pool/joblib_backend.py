"""joblib's calls on the backend "earlyfork". Prints "all well"."""

import earlyfork  # the first line
import os
import sys
import time

import joblib
from earlyfork.pool import Pool, WorkerDied
from earlyfork.pool.joblib import _EarlyforkBackend
from joblib import Parallel, delayed

assert earlyfork
OFFSET = 3


def function_of_main(x):
    return x * x + OFFSET


def inner(n):
    return sum(Parallel(n_jobs=2)(delayed(abs)(i) for i in range(n)))


def fails(n):
    if n == 5:
        raise KeyError(n)
    return n


def dies(n):
    if n == 5:
        os._exit(3)
    return os.getpid()


def raised(kind, function):
    try:
        Parallel()(delayed(function)(n) for n in range(8))
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def calls():
    assert Parallel()(delayed(function_of_main)(n) for n in range(10)) == [
        n * n + OFFSET for n in range(10)
    ]
    assert Parallel()(delayed(inner)(n) for n in range(4)) == [0, 0, 1, 3]
    assert Parallel()(delayed(lambda n: n + 1)(n) for n in range(3)) == [1, 2, 3]
    lazy = Parallel(return_as="generator")(delayed(abs)(-n) for n in range(10))
    assert list(lazy) == [*range(10)]
    pids = {*Parallel()(delayed(os.getpid)() for _ in range(20))}
    again = {*Parallel()(delayed(os.getpid)() for _ in range(20))}
    assert pids & again, "no worker was there any more for the next call"
    assert os.getpid() not in pids


def errors():
    assert raised(KeyError, fails).args == (5,)
    died = raised(WorkerDied, dies)
    assert died.returncode == 3
    assert Parallel()(delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]
    begin = time.monotonic()
    try:
        Parallel(timeout=0.2)(delayed(time.sleep)(60) for _ in range(4))
    except Exception as error:
        assert type(error).__name__ == "TimeoutError", error
    else:
        raise AssertionError("no timeout")
    # What ran has been ended: the workers are free.
    assert Parallel()(delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]
    assert time.monotonic() - begin < 30


def surroundings():
    def threads():
        return os.environ["OMP_NUM_THREADS"]

    with joblib.parallel_config("earlyfork", n_jobs=2, inner_max_num_threads=3):
        assert {*Parallel()(delayed(threads)() for _ in range(4))} == {"3"}

    def initializer(value):
        sys.modules["__main__"].value = value

    def value():
        return sys.modules["__main__"].value

    found = Parallel(n_jobs=2, backend="earlyfork", initializer=initializer, initargs=(7,))(
        delayed(value)() for _ in range(4)
    )
    assert found == [7] * 4


def a_pool_of_ones_own():
    with Pool(max_workers=2) as pool:
        with joblib.parallel_config("earlyfork", n_jobs=2, pool=pool):
            assert Parallel()(delayed(abs)(-n) for n in range(4)) == [0, 1, 2, 3]
        assert pool.stats().done > 0
        try:
            with joblib.parallel_config("earlyfork", n_jobs=2, pool=pool, initializer=print):
                Parallel()(delayed(abs)(-n) for n in range(4))
        except ValueError as error:
            assert "Pool(init=" in str(error)
        else:
            raise AssertionError("an initializer was not refused")


def arrays():
    try:
        import numpy as np
    except ImportError:
        return
    array = np.arange(1_000_000.0)
    assert Parallel()(delayed(np.sum)(array + n) for n in range(3)) == [
        float(np.sum(array + n)) for n in range(3)
    ]


with joblib.parallel_config("earlyfork", n_jobs=2):
    calls()
    errors()
    arrays()
surroundings()
a_pool_of_ones_own()
assert isinstance(joblib.parallel_config("earlyfork").parallel_config["backend"], _EarlyforkBackend)
print("all well")
