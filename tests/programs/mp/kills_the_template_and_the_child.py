"""Kills the template that a child came from, and then the child."""

import os
import signal

import earlyfork.mp
import support

ctx = earlyfork.mp.get_context()


def wait(c):
    c.send(os.getppid())
    signal.pause()


if __name__ == "__main__":
    a, b = ctx.Pipe()
    p = ctx.Process(target=wait, args=(b,))
    p.start()
    template = a.recv()
    os.kill(template, signal.SIGKILL)
    assert support.gone_within(template)
    print(p.is_alive(), p.exitcode)
    p.terminate()
    p.join()
    print(p.is_alive(), p.exitcode)
    p.kill()
    p.close()
