"""Interrupts a child, and once more when that has ended."""

import signal

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def wait(c):
    try:
        c.send("waits")
        signal.pause()
    except KeyboardInterrupt:
        c.send("interrupted")


if __name__ == "__main__":
    a, b = ctx.Pipe()
    p = ctx.Process(target=wait, args=(b,))
    p.start()
    print(a.recv())
    p._popen.interrupt()
    print(a.recv())
    p.join()
    p._popen.interrupt()  # one that has ended
    print(p.exitcode)
