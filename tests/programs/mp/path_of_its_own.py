"""Finds earlyfork in HOME only, which its spawned child does not know."""

import sys

sys.path.append(sys.argv[1])
import multiprocessing as mp
import earlyfork.mp  # noqa: F401 - registers the start method


def show(q):
    q.put(mp.get_start_method())


if __name__ == "__main__":
    mp.set_start_method("earlyfork")
    c = mp.get_context("spawn")
    q = c.SimpleQueue()
    p = c.Process(target=show, args=(q,))
    p.start()
    print(q.get())
    p.join()
