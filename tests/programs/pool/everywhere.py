"""Pools of each origin of a program: early or launched, a snapshot, a pool in a worker."""

import earlyfork

import operator
import os
import sys

from earlyfork.pool import Pool, WorkerDied

LABEL = "main's own"


def own(value):
    return f"{LABEL}: {value}"


def pool_inside():
    with Pool(max_workers=2) as pool:
        return list(pool.map(operator.neg, range(5)))


if sys.argv[1] != "launched":
    from earlyfork.template import TEMPLATE


def main():
    with Pool(max_workers=2) as pool:
        assert list(pool.map(operator.add, range(20), range(20))) == list(range(0, 40, 2))
        assert isinstance(pool.submit(os._exit, 3).exception(), WorkerDied)
        assert pool.submit(operator.mul, 6, 7).result() == 42
        job = pool.submit("time.sleep", 60)
        assert job.cancel()
        assert pool.submit(operator.mul, 7, 7).result() == 49
    template = earlyfork.new().require("decimal")
    with Pool(template, max_workers=1) as pool:
        assert str(pool.submit("decimal.Decimal", "1.5").result()) == "1.5"
    template.close()
    if sys.argv[1] == "launched":
        return
    with Pool(TEMPLATE, max_workers=2) as pool:
        assert list(pool.map(own, "ab")) == ["main's own: a", "main's own: b"]
        assert pool.submit(pool_inside).result() == [0, -1, -2, -3, -4]


if __name__ == "__main__":
    main()
    print("all well")
