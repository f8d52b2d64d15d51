"""Waits for any child, as some programs do, before it joins its own."""

import os
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def end():
    sys.exit(4)


if __name__ == "__main__":
    p = ctx.Process(target=end)
    p.start()
    try:
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
    except ChildProcessError:
        pass
    p.join()
    print(p.exitcode)
