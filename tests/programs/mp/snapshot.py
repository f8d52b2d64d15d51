"""Takes a snapshot of itself, and its workers from that."""

import earlyfork
import multiprocessing as mp
import earlyfork.mp

runs = open("runs", "a")
print(__name__, file=runs, flush=True)


def pid(x):
    return x + 1


def nest(x):
    with mp.get_context("earlyfork").Pool(1) as pool:
        return pool.apply(pid, (x,))


from earlyfork.template import TEMPLATE

ctx = earlyfork.mp.get_context(template=TEMPLATE)
with ctx.Pool(2) as pool:
    print(pool.map(nest, [1, 2]))
print(open("runs").read())
