"""Has children by a start method of multiprocessing, METHOD."""

import earlyfork
import multiprocessing
import os
import support
import sys
from multiprocessing import shared_memory


def child(answers, barrier):
    answers.put(earlyfork.status().early)
    barrier.wait()  # all of them are there when the templates are counted


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    answers, barrier = context.Queue(), context.Barrier(3)
    memory = shared_memory.SharedMemory(create=True, size=1)  # starts the tracker
    children = [context.Process(target=child, args=(answers, barrier)) for _ in range(2)]
    for process in children:
        process.start()
    told = [answers.get(timeout=20) for _ in children]
    names = list(support.session(os.getsid(0)).values())
    barrier.wait()
    for process in children:
        process.join()
        assert process.exitcode == 0
    memory.close()
    memory.unlink()
    earlyfork.new().ready(10)
    print(names.count("ef-template"), told)
