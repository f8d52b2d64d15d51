"""Sent to a linked worker of has_a_tree.py: what it may have made, and must take with it."""

import os
import signal
import subprocess


def pause():
    while True:
        signal.pause()


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def child(then):
    pid = os.fork()
    if not pid:
        then()
        os._exit(0)
    return pid


def processes_of_its_own():
    global inner, held
    import earlyfork

    inner = earlyfork.new()
    held = inner.run("work.stubborn", linked=True)
    held.recv(1)
    return inner.pid


TREES = {
    "a child": lambda: child(pause),
    "a child that ignores SIGTERM": lambda: child(lambda: (deaf(), pause())),
    "a grandchild": lambda: child(lambda: (child(pause), pause())),
    "a child that goes on forking": (
        lambda: child(lambda: ([child(pause) for _ in range(300)], pause()))
    ),
    "a command": lambda: subprocess.Popen(["sleep", "1000"]).pid,
    "a stopped child": lambda: child(lambda: os.kill(os.getpid(), signal.SIGSTOP)),
    "processes of its own": processes_of_its_own,
}


def f(sock, tree, ends):
    pid = TREES[tree]()
    if ends == "by SIGKILL":
        deaf()
    sock.sendall(b"%d" % pid)
    pause()
