"""Puts functions of its own in the place of multiprocessing's, and notes when they are run."""

import functools
import multiprocessing.process
import os
import sys

import earlyfork.mp
import support

ctx = earlyfork.mp.get_context()


def hook(name):
    stock = getattr(multiprocessing.process.BaseProcess, name)

    @functools.wraps(stock)
    def hooked(self, *args, **kwargs):
        with open("hooks", "a") as notes:
            print(name, os.getpid(), file=notes)
        return stock(self, *args, **kwargs)

    setattr(multiprocessing.process.BaseProcess, name, hooked)


for name in sys.argv[1:]:
    hook(name)

if __name__ == "__main__":
    pids = []
    for _ in range(5):
        p = ctx.Process(target=os.getpid)
        p.start()
        pids.append(p.pid)
        p.join()
        assert p.exitcode == 0
        support.wait_for_standby()
    with open("hooks") as notes:
        found = [line.split() for line in notes]
    assert sorted(found) == sorted([name, str(pid)] for name in sys.argv[1:] for pid in pids), (
        found,
        pids,
    )
