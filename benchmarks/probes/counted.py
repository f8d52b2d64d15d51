"""A given number of creations, for those who count from outside: counted.py FIGURE count=N gap=S.

Prints who is who (pids) and the page faults on each side.
"""

# ruff: noqa: I001 (the order of imports is the point)
from __future__ import annotations

import os
import resource
import sys

if os.environ.get("BENCH_PATH"):
    sys.path.insert(0, os.environ["BENCH_PATH"])

import report
import tasks  # noqa: F401 (loaded here, so that the template has it)
import earlyfork

from time import sleep

WARM = 20


def faults(pid: int) -> int:
    """Minor page faults of a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[7])
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """Of one thread."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        return [int(word) for word in file.read().split()]


def run(
    count: int, gap: float, template: int = 0, look: list[tuple[int, int]] | None = None
) -> None:
    """Create one after another; with `look`, note each worker's faults."""
    for _ in range(count):
        before = {}
        if look is not None:
            before = {pid: faults(pid) for pid in children(template)}
        process = earlyfork.new()
        sock = process.run("tasks.idle")
        sock.recv(1)
        if look is not None:
            pid = process.pid
            look.append((before.get(pid, 0), faults(pid)))
        sock.close()
        process.wait()
        if gap:
            sleep(gap)


def plain(wish: report.Wish) -> dict[str, object]:
    """Create only: strace looks on."""
    run(WARM, 0.003)
    run(wish.count, wish.gap)
    sleep(0.05)
    return {"caller": os.getpid(), "template": template_pid()}


def template_pid() -> int:
    """The early template's."""
    for entry in earlyfork.status().templates:
        if entry.pid:
            return entry.pid
    return 0


def pages(wish: report.Wish) -> dict[str, object]:
    """Faults per creation: caller, template, worker (before it was taken, and in all)."""
    run(WARM, 0.003)
    template = template_pid()
    sleep(0.05)
    look: list[tuple[int, int]] = []
    run(2, wish.gap, template, look)
    look.clear()
    mine, its = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, faults(template)
    run(wish.count, wish.gap)
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - mine
    sleep(0.02)
    its = faults(template) - its  # type: ignore[attr-defined]
    run(wish.count, wish.gap, template, look)
    return {
        "caller": mine / wish.count,
        "template": its / wish.count,
        "worker before": [before for before, _ in look],
        "worker": [whole for _, whole in look],
    }


if __name__ == "__main__":
    report.main({"plain": plain, "pages": pages}, warm=0)
