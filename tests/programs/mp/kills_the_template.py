"""Kills the template that a child came from, and has another one."""

import multiprocessing as mp
import multiprocessing.connection
import os
import signal
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def wait(c):
    c.send(os.getppid())
    c.recv()


def end():
    sys.exit(3)


if __name__ == "__main__":
    a, b = ctx.Pipe()
    p = ctx.Process(target=wait, args=(b,))
    p.start()
    b.close()
    template = a.recv()
    death = os.pidfd_open(template)
    os.kill(template, signal.SIGKILL)
    mp.connection.wait([death, p.sentinel])
    mp.connection.wait([death])
    os.close(death)
    assert p.is_alive()
    q = ctx.Process(target=end)
    q.start()
    q.join()
    print(q.exitcode, p.is_alive())
    a.send(1)
    p.join()
    print(p.exitcode)
