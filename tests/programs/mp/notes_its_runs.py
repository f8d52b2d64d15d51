"""Notes by what name it is run, and has children that use its own classes."""

import os

import earlyfork.mp

ctx = earlyfork.mp.get_context()

with open("runs", "a") as f:
    print(__name__, os.getpid(), file=f)
print("top level")


class Thing:
    pass


def pid(thing):
    assert type(thing) is Thing
    return os.getpid()


def nest(thing):
    with ctx.Pool(1) as pool:
        return pool.map(pid, [thing])


if __name__ == "__main__":
    with ctx.Pool(3) as pool:
        pool.map(pid, [Thing()] * 9, chunksize=1)
    for target in (pid, nest):
        p = ctx.Process(target=target, args=(Thing(),))
        p.start()
        p.join()
        assert p.exitcode == 0
    print(*[line.split()[0] for line in open("runs")])
