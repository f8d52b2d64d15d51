"""Ctrl-C while jobs are given and waited for, again and again: nothing is lost or done twice."""

import earlyfork  # noqa: F401 - forks the early template

import os
import signal
import threading

from earlyfork.pool import Pool

# The group's signal is for this process alone here.
pool = Pool(max_workers=2, load=2)
pool.warm()
over = threading.Event()
started = threading.Event()


def interrupt():
    started.wait()
    while not over.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(0.0007)


interrupter = threading.Thread(target=interrupt)
interrupter.start()
done = interrupts = number = 0
started.set()
jobs = []
while done < 1500:
    try:
        number += 1
        wanted = number
        job = pool.submit("operator.add", wanted, 0)
        jobs.append((wanted, job))
        if number % 3:
            found = job.result()
            assert found == wanted, (found, wanted)
        done += 1
    except KeyboardInterrupt:
        interrupts += 1
while True:
    try:
        over.set()
        interrupter.join()
        break
    except KeyboardInterrupt:
        continue
assert interrupts
for wanted, job in jobs:
    assert job.result(20) == wanted, (job, wanted)
assert pool.submit("operator.add", 1, 1).result() == 2
stats = pool.stats()
assert stats.waiting == stats.running == 0, stats
assert stats.workers == 2, stats
pool.shutdown()
print("all well")
