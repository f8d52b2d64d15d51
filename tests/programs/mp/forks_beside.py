"""Forks beside a child; what was forked has one of its own."""

import os
import signal
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def end(n):
    sys.exit(n)


if __name__ == "__main__":
    p = ctx.Process(target=signal.pause)
    p.start()
    pid = os.fork()
    if not pid:
        p = ctx.Process(target=end, args=(5,))
        p.start()
        p.join()
        os._exit(p.exitcode)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    p.kill()
    p.join()
    print(p.exitcode)
