"""earlyfork's own figures. BENCH_PATH in the environment is where to import it from, if not there.

EARLYFORK_STANDBY chooses the number of standbys.
"""

# ruff: noqa: I001 (the order of imports is the point)
from __future__ import annotations

import os
import sys

if sys.flags.isolated:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if os.environ.get("BENCH_PATH"):
    sys.path.insert(0, os.environ["BENCH_PATH"])

import report
import tasks  # noqa: F401 (loaded here, so that the template has it)
import earlyfork

from time import perf_counter, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def latency(wish: report.Wish, make: Callable[[], earlyfork.Process]) -> dict[str, object]:
    """How long until the first byte from user code, and how long the caller is blocked."""
    samples, blocked = [], []
    for _ in range(wish.count):
        start = perf_counter()
        process = make()
        sock = process.run("tasks.hello")
        after = perf_counter()
        sock.recv(1)
        end = perf_counter()
        samples.append(end - start)
        blocked.append(after - start)
        process.wait()
        sock.close()
        if wish.gap:
            sleep(wish.gap)
    return {"first": samples, "blocked": blocked, "early": earlyfork.status().early}


def first(wish: report.Wish) -> dict[str, object]:
    """Of `new().run(f)`."""
    return latency(wish, earlyfork.new)


def fork(wish: report.Wish) -> dict[str, object]:
    """Of `fork()` of a prepared template."""
    return latency(wish, earlyfork.new().eval("ready = True").ready().fork)


def rate(wish: report.Wish) -> dict[str, object]:
    """Create, exit, seen; one after another."""
    start = perf_counter()
    for _ in range(wish.count):
        process = earlyfork.new()
        sock = process.run("tasks.nothing")
        process.wait()
        sock.close()
    return {
        "rate": [(perf_counter() - start) / wish.count],
        "early": earlyfork.status().early,
    }


def flight(wish: report.Wish) -> dict[str, object]:
    """`width` of them at any time."""
    start = perf_counter()
    row: list[tuple[earlyfork.Process, object]] = []
    for _ in range(wish.count):
        if len(row) == wish.width:
            end(row.pop(0))
        process = earlyfork.new()
        row.append((process, process.run("tasks.nothing")))
    for pair in row:
        end(pair)
    return {
        "flight": [(perf_counter() - start) / wish.count],
        "early": earlyfork.status().early,
    }


def end(pair: tuple[earlyfork.Process, object]) -> None:
    """See one end."""
    process, sock = pair
    process.wait()
    sock.close()  # type: ignore[attr-defined]


def launch(wish: report.Wish) -> dict[str, object]:
    """`new_exec()` to the first byte, in turn with what launching an interpreter costs at all."""
    import subprocess

    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    samples, base = [], []
    for _ in range(wish.count):
        start = perf_counter()
        subprocess.run([sys.executable, *flags, "-c", "pass"], check=True)
        base.append(perf_counter() - start)
        start = perf_counter()
        process = earlyfork.new_exec()
        sock = process.run("tasks.hello")
        sock.recv(1)
        samples.append(perf_counter() - start)
        process.wait()
        sock.close()
        process.close()
    return {"first": samples, "pass": base}


def memory(wish: report.Wish) -> dict[str, object]:
    """Private memory of idle workers, in bytes: all of them alive, so what is shared is shared."""
    return private_of(wish.count, earlyfork.new, "tasks.idle")


def private_of(count: int, make: Callable[[], earlyfork.Process], idle: str) -> dict[str, object]:
    """The same of so many processes that a function makes, each of which runs `idle`."""
    row = []
    for _ in range(count):
        process = make()
        sock = process.run(idle)
        sock.recv(1)
        row.append((process, sock))
        sleep(0.005)
    sleep(0.1)
    found = [private(process.pid) for process, _ in row]
    for process, sock in row:
        sock.close()
        process.wait()
    return {"private": found}


def private(pid: int) -> int:
    """USS."""
    total = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("Private_") and "Hugetlb" not in line:
                total += int(line.split()[1]) * 1024
    return total


if __name__ == "__main__":
    report.main(
        {
            "first": first,
            "fork": fork,
            "rate": rate,
            "flight": flight,
            "launch": launch,
            "memory": memory,
        },
        warm=0 if sys.argv[1] in ("launch", "memory") else 20,
    )
