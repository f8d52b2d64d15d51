"""The main module has a lock and a queue, which each run of it makes again."""

import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()

lock = ctx.Lock()
queue = ctx.Queue()


def use(lock):
    with lock:
        pass


def pass_on():
    p = ctx.Process(target=use, args=(lock,))
    p.start()
    p.join()
    sys.exit(p.exitcode)


if __name__ == "__main__":
    p = ctx.Process(target=pass_on)
    p.start()
    p.join()
    print(p.exitcode)
