"""A template that holds so many megabytes, in one buffer or in objects, compact or not."""

# ruff: noqa: I001 (the order of imports is the point)
from __future__ import annotations

import os
import sys

if sys.flags.isolated:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import report
import earlyfork

from time import perf_counter, sleep

MAKE = {
    "buffer": """
made = bytearray(args[0] << 20)
for place in range(0, len(made), 4096):
    made[place] = 1
""",
    # A string of 900 bytes, an int and the tuple of both: 1 kB.
    "objects": "made = [(bytes(900), 1000 + number) for number in range(args[0] * 1000)]",
}
WORK = """
from time import perf_counter

def nothing(sock):
    pass

def hello(sock):
    sock.send(b"x")

def idle(sock):
    sock.send(b"x")
    sock.recv(1)

def touch(sock):
    '''Write to each page; or look at each object, which writes to its count of references.'''
    start = perf_counter()
    if isinstance(made, bytearray):
        for place in range(0, len(made), 4096):
            made[place] = 2
    else:
        for pair in made:
            pass
    sock.send(b"%f" % (perf_counter() - start))
    sock.recv(1)

def write_some(sock):
    '''The first write to each 2 MB, then the second one elsewhere in it: microseconds each.'''
    for offset in (4096, 8192):
        start = perf_counter()
        for place in range(offset, len(made), 1 << 21):
            made[place] = 2
        sock.send(b"%f " % ((perf_counter() - start) * 1e6 / (len(made) >> 21)))
"""


def template(wish: report.Wish) -> tuple[earlyfork.Process, float]:
    """The template, and how long it took to make it compact."""
    made = earlyfork.new().eval(MAKE[wish.method], wish.holds).eval(WORK).ready()
    start = perf_counter()
    if wish.compact:
        made.compact().ready()
    return made, perf_counter() - start


def times(wish: report.Wish) -> dict[str, object]:
    """First byte when asked every `gap` seconds; a cycle, one after another."""
    made, took = template(wish)
    firsts, cycles = [], []
    for _ in range(wish.count):
        start = perf_counter()
        process = made.fork()
        with process.run("hello") as sock:
            sock.recv(1)
            firsts.append(perf_counter() - start)
            process.wait()
        sleep(wish.gap)
    for _ in range(wish.count):
        start = perf_counter()
        process = made.fork()
        sock = process.run("nothing")
        process.wait()
        sock.close()
        cycles.append(perf_counter() - start)
    return {"first": firsts, "cycle": cycles, "compacting": took}


def memory(wish: report.Wish) -> dict[str, object]:
    """Proportional memory in MB of the template and `width` workers that touch nothing or all.

    And what touching took.
    """
    made, _ = template(wish)
    made.standby = 0
    found: dict[str, object] = {}
    for name in ("idle", "touch"):
        row = []
        for _ in range(wish.width):
            process = made.fork()
            row.append((process, process.run(name)))
        said = [sock.recv(100) for _, sock in row]
        pids = [made.pid, *(process.pid for process, _ in row)]
        found[name] = sum(map(proportional, pids)) / 2**20
        if name == "touch":
            found["seconds"] = [float(text) for text in said]
        for process, sock in row:
            sock.close()
            process.wait()
    return found


def writes(wish: report.Wish) -> dict[str, object]:
    """What a first write costs a worker in each 2 MB, and a second one beside it, in µs."""
    made, _ = template(wish)
    found = []
    for _ in range(wish.count):
        process = made.fork()
        with process.run("write_some") as sock:
            process.wait()
            found.append([float(word) for word in sock.recv(100).split()])
    return {"writes": found}


def proportional(pid: int | None) -> int:
    """PSS in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))


if __name__ == "__main__":
    report.main({"times": times, "memory": memory, "writes": writes}, warm=0)
