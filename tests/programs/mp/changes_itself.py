"""Prints what a child sees of it after it has changed all that a child could see."""

import multiprocessing as mp
import os
import resource
import signal
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def look():
    return {
        "env": os.environ.get("LATE"),
        "removed": os.environ.get("REMOVED"),
        "cwd": os.getcwd() == os.environ["WHERE"],
        "path": "/late" in sys.path,
        "argv": sys.argv[-1],
        "umask": oct(os.umask(0)),
        "nice": os.nice(0) - int(os.environ["NICE"]),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "hup": str(signal.getsignal(signal.SIGHUP)),
        "usr1": str(signal.getsignal(signal.SIGUSR1)),
        "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "name": mp.current_process().name,
        "key": bytes(mp.current_process().authkey),
    }


def tell(c):
    c.send(look())


def ask():
    a, b = ctx.Pipe()
    p = ctx.Process(target=tell, args=(b,), name="Namely")
    p.start()
    seen = a.recv()
    p.join()
    return seen


if __name__ == "__main__":
    os.environ["REMOVED"] = "still there"
    os.environ["NICE"] = str(os.nice(0))
    os.environ["WHERE"] = os.getcwd()
    before = ask()
    assert before["removed"] == "still there", before
    os.environ["LATE"] = "now"
    del os.environ["REMOVED"]
    os.mkdir("elsewhere")
    os.chdir("elsewhere")
    os.environ["WHERE"] = os.getcwd()
    sys.path.append("/late")
    sys.argv.append("late")
    os.umask(0o27)
    os.nice(3)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus[:1])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, print)
    signal.signal(signal.SIGINT, print)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    mp.current_process().authkey = b"secret"
    print(ask())
    print(cpus[:1])
