"""Counts its fds before and after twenty children."""

import os

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def nothing():
    pass


if __name__ == "__main__":

    def count():
        return len(os.listdir("/proc/self/fd"))

    def one(daemon):
        p = ctx.Process(target=nothing, daemon=daemon)
        p.start()
        p.join()
        p.close()

    for _ in range(5):
        one(False)
        one(True)
    before = count()
    for _ in range(10):
        one(False)
        one(True)
    print(count() - before)
