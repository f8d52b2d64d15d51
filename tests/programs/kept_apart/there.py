"""Sent to each process: changes all that can be set for a whole process, and tells what is set."""

import os
import resource
import signal
import sys


def change():
    os.umask(0o027)
    os.nice(3)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.chdir("/")
    os.environ["MINE"] = "set"
    sys.path.append("/mine")
    sys.setrecursionlimit(999)


def signals():
    with open("/proc/thread-self/status") as file:
        words = dict(line.split(":") for line in file)
    return [
        [number for number in range(1, 32) if int(words[name], 16) >> number - 1 & 1]
        for name in ("SigBlk", "SigIgn")
    ]


def seen():
    old = os.umask(0o022)
    os.umask(old)
    return {
        "umask": old,
        "nice": os.nice(0),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "cwd": os.getcwd(),
        "mine": os.environ.get("MINE"),
        "path": "/mine" in sys.path,
        "depth": sys.getrecursionlimit(),
        "signals": signals(),
    }


def look(sock):
    import work

    work.give(sock, seen())


def change_and_look(sock):
    import earlyfork
    import support
    import work

    change()
    inner = earlyfork.new().eval(support.program("kept_apart/there.py"))
    found = work.got(inner.run("look"))
    assert inner.wait(10) == 0
    work.give(sock, (seen(), found))
