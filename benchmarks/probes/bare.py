"""R: os.fork() and nothing else, in a process that has loaded next to nothing."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from _socket import socketpair
from os import _exit, close, fork, pipe, read, waitpid, write
from time import perf_counter, sleep

import report


def cycle(wish: report.Wish) -> dict[str, object]:
    """Create, exit, seen; and how long fork() itself takes to return."""
    whole, returns = [], []
    for _ in range(wish.count):
        if wish.gap:
            sleep(wish.gap)
        start = perf_counter()
        near, far = socketpair()
        before = perf_counter()
        pid = fork()
        if not pid:
            _exit(0)
        after = perf_counter()
        waitpid(pid, 0)
        end = perf_counter()
        near.close()
        far.close()
        whole.append(end - start)
        returns.append(after - before)
    return {"cycle": whole, "blocked": returns}


def first(wish: report.Wish) -> dict[str, object]:
    """The first byte that the child writes."""
    samples = []
    for _ in range(wish.count):
        start = perf_counter()
        near, far = socketpair()
        pid = fork()
        if not pid:
            write(far.fileno(), b"x")
            _exit(0)
        near.recv(1)
        samples.append(perf_counter() - start)
        waitpid(pid, 0)
        near.close()
        far.close()
        if wish.gap:
            sleep(wish.gap)
    return {"first": samples}


def rate(wish: report.Wish) -> dict[str, object]:
    """As `cycle`, timed as a whole."""
    start = perf_counter()
    for _ in range(wish.count):
        near, far = socketpair()
        pid = fork()
        if not pid:
            _exit(0)
        waitpid(pid, 0)
        near.close()
        far.close()
    return {"rate": [(perf_counter() - start) / wish.count]}


def imports(wish: report.Wish) -> dict[str, object]:
    """As `rate`, with the same modules imported by each child as by a worker that needs them."""
    start = perf_counter()
    for _ in range(wish.count):
        pid = fork()
        if not pid:
            import small  # noqa: F401

            if wish.carry == "require":
                import other  # noqa: F401
            _exit(0)
        waitpid(pid, 0)
    return {"imports": [(perf_counter() - start) / wish.count]}


def flight(wish: report.Wish) -> dict[str, object]:
    """`width` of them at any time."""
    start = perf_counter()
    row: list[int] = []
    for _ in range(wish.count):
        if len(row) == wish.width:
            waitpid(row.pop(0), 0)
        near, far = socketpair()
        pid = fork()
        if not pid:
            _exit(0)
        near.close()
        far.close()
        row.append(pid)
    for pid in row:
        waitpid(pid, 0)
    return {"flight": [(perf_counter() - start) / wish.count]}


def burst(wish: report.Wish) -> dict[str, object]:
    """`width` at once after a second of silence: until all have answered, for each of them."""
    samples = []
    for _ in range(wish.count):
        sleep(1)
        start = perf_counter()
        row = []
        for _ in range(wish.width):
            near, far = socketpair()
            pid = fork()
            if not pid:
                write(far.fileno(), b"x")
                _exit(0)
            far.close()
            row.append((pid, near))
        for _, near in row:
            near.recv(1)
        samples.append((perf_counter() - start) / wish.width)
        for pid, near in row:
            waitpid(pid, 0)
            near.close()
    return {"burst": samples}


def live(wish: report.Wish) -> dict[str, object]:
    """Create, first byte, exit, seen: with 10 and with `count` children alive."""
    found: dict[str, object] = {}
    row = []
    held, holder = pipe()
    for step in (10, wish.count):
        while len(row) < step:
            pid = fork()
            if not pid:
                close(holder)
                read(held, 1)
                _exit(0)
            row.append(pid)
        samples = []
        for _ in range(300):
            start = perf_counter()
            near, far = socketpair()
            pid = fork()
            if not pid:
                write(far.fileno(), b"x")
                _exit(0)
            near.recv(1)
            near.close()
            far.close()
            waitpid(pid, 0)
            samples.append(perf_counter() - start)
        found[f"at {step}"] = samples
    close(holder)
    for pid in row:
        waitpid(pid, 0)
    return found


def faults(wish: report.Wish) -> dict[str, object]:
    """Page faults of a child, up to the place where user code would begin."""
    import resource

    found = []
    for _ in range(wish.count):
        near, far = socketpair()
        pid = fork()
        if not pid:
            far.send(b"%d" % resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
            _exit(0)
        found.append(int(near.recv(100)))
        waitpid(pid, 0)
        near.close()
        far.close()
    return {"faults": found}


if __name__ == "__main__":
    figures = {
        "cycle": cycle,
        "first": first,
        "rate": rate,
        "imports": imports,
        "flight": flight,
        "faults": faults,
    }
    figures |= {"live": live, "burst": burst}
    report.main(figures, warm=1 if sys.argv[1] == "burst" else 5)
