"""Kills its template: six threads ask for a process at once."""

import earlyfork
import os
import signal
import support
import threading
import warnings
import work

earlyfork.new().ready(10)
pid = earlyfork.status().templates[0].pid
os.kill(pid, signal.SIGKILL)
support.wait_until(lambda: not earlyfork.status().templates)
answers, barrier = [], threading.Barrier(6)


def ask():
    barrier.wait()
    process = earlyfork.new()
    answers.append(work.got(process.run(work.pid)) == process.pid)


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
assert answers == [True] * 6, answers
assert len(caught) == 1, [str(w.message) for w in caught]
assert len(earlyfork.status().templates) == 1
