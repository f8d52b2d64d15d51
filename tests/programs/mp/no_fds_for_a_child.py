"""Starts a child when no fd is left, and another one later."""

import errno
import os
import resource

import earlyfork.mp
import support

ctx = earlyfork.mp.get_context()


def work():
    pass


if __name__ == "__main__":
    first = ctx.Process(target=work)
    first.start()
    first.join()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = max(map(int, os.listdir("/proc/self/fd")))
    p = ctx.Process(target=work)
    resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    holders = support.fill_fds()
    try:
        p.start()
        p.join()
        print("was started", p.exitcode)  # from a standby, which needs none
    except OSError as error:
        print("refused", error.errno == errno.EMFILE)
    for fd in holders:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    q = ctx.Process(target=work)
    q.start()
    q.join()
    print(q.exitcode)
