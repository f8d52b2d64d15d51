"""Children of which the first was made when asked for, and the others ahead: all see the same."""

import multiprocessing as mp
import os
import sys
import threading
from multiprocessing import util

import earlyfork.mp
import support

ctx = earlyfork.mp.get_context()


class Noted:
    pass


noted = Noted()
util.register_after_fork(noted, lambda _: os.write(1, b"after a fork\n"))


def look(c):
    parent = mp.parent_process()
    c.send(
        [
            mp.current_process().name,
            parent.pid,
            parent.is_alive(),
            mp.Process().name[-2:],
            len(mp.active_children()),
            sys.stdin.closed,
            threading.main_thread().is_alive(),
            util._exiting,
            len(os.listdir("/proc/self/fd")),
            mp.get_start_method(),
        ]
    )


if __name__ == "__main__":
    seen = []
    for number in range(6):
        a, b = ctx.Pipe(duplex=False)
        p = ctx.Process(target=look, args=(b,), name=f"n{number}")
        p.start()
        b.close()
        found = a.recv()
        assert found.pop(0) == f"n{number}"
        seen.append(found)
        p.join()
        support.wait_for_standby()
    print(all(found == seen[0] for found in seen), seen)
