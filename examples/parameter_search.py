"""Search for the best parameters, with numpy loaded once, and jobs that crash on purpose.

The workers are clones of a template that has numpy and the data. So they begin at once, and share
that memory. One job kills its worker, as a fault in C would, or the kernel for want of memory: that
costs its own result, and no other. In a terminal there is a progress bar of tqdm or rich, if one of
them is installed.

    python parameter_search.py
"""

import earlyfork

import importlib.util
import os
import sys
from collections.abc import Iterable
from typing import Any

from earlyfork.pool import Pool, WorkerDied

# env= acts before anything is imported there; one thread each is enough for such small things.
template = earlyfork.new(env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}).eval("""
import os
import numpy

DATA = numpy.random.default_rng(0).normal(size=(2000, 8))
WANTED = DATA @ numpy.arange(1, 9) + numpy.random.default_rng(1).normal(size=2000)

def error(ridge):
    "How badly the model does on the half that it has not seen; a few parameters crash it."
    if ridge == 13:
        os.kill(os.getpid(), 9)
    a, b = DATA[:1000], WANTED[:1000]
    found = numpy.linalg.solve(a.T @ a + ridge * numpy.eye(8), a.T @ b)
    return float(numpy.mean((DATA[1000:] @ found - WANTED[1000:]) ** 2))
""")


def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """A progress bar, where tqdm or rich is installed and somebody looks."""
    if sys.stderr.isatty() and importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        return tqdm(items, total=total)
    if sys.stdout.isatty() and importlib.util.find_spec("rich"):
        from rich.progress import track

        return track(items, total=total)
    return items


def main() -> None:
    ridges = [*range(40), *range(40, 4000, 100)]
    found, crashed = {}, []
    with Pool(template) as pool:
        jobs = {ridge: pool.submit("error", ridge) for ridge in ridges}
        for ridge, job in progress(jobs.items(), len(jobs)):
            try:
                found[ridge] = job.result()
            except WorkerDied as death:
                crashed.append((ridge, death.returncode))
    best = min(found, key=found.get)
    print(f"{len(found)} of {len(ridges)} parameters, the best is {best}: {found[best]:.4f}")
    for ridge, status in crashed:
        print(f"{ridge}: its worker died with status {status}")


if __name__ == "__main__":
    main()
