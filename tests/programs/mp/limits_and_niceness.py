"""Changes its limits, its niceness, its CPUs, its scheduling and its signals, and compares with a child."""

import os
import resource
import signal

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def look():
    return (
        resource.getrlimit(resource.RLIMIT_CORE),
        os.getpriority(os.PRIO_PROCESS, 0),
        len(os.sched_getaffinity(0)),
        os.sched_getscheduler(0),
        signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
        list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    )


def tell(q):
    q.put(look())


if __name__ == "__main__":
    first = ctx.Process(target=print)
    first.start()
    first.join()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    q = ctx.SimpleQueue()
    p = ctx.Process(target=tell, args=(q,))
    p.start()
    print(q.get() == look())
    p.join()
