"""Redirects its streams, closes one, and has children that write."""

import os
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def write():
    os.write(1, b"raw ")
    print("printed")
    print("error", file=sys.stderr)


if __name__ == "__main__":

    def go():
        p = ctx.Process(target=write)
        p.start()
        p.join()
        assert p.exitcode == 0

    for n in (1, 2):
        fd = os.open(f"redirected{n}", os.O_WRONLY | os.O_CREAT)
        silent = os.open(os.devnull, os.O_WRONLY)
        saved = os.dup(1), os.dup(2)
        os.dup2(silent, 3 - n)
        os.dup2(fd, n)
        go()
        if n == 2:
            os.close(1)
            go()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
