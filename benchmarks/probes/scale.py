"""What one more process costs when many are alive: scale.py live count=LIVE."""

# ruff: noqa: E402, I001 (the order of imports is the point)
from __future__ import annotations

import os
import resource
import sys

needed = int(sys.argv[2].partition("=")[2]) + 500  # of a worker that lives on, status alone
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if soft < needed:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

if os.environ.get("BENCH_PATH"):
    sys.path.insert(0, os.environ["BENCH_PATH"])

import report
import tasks  # noqa: F401 (loaded here, so that the template has it)
import earlyfork

from time import perf_counter

SAMPLE = 300
#: Seconds after which no more workers are added: what was reached is told.
PATIENCE = 240


def add(row: list[earlyfork.Process], held: int) -> None:
    """One more that lives until a pipe ends."""
    process = earlyfork.new().send_fh(held)
    with process.run("tasks.held") as sock:
        sock.recv(1)
    row.append(process)


def sample() -> list[float]:
    """SAMPLE creations, each ended again, at the number that is alive now."""
    found = []
    for _ in range(SAMPLE):
        start = perf_counter()
        process = earlyfork.new()
        sock = process.run("tasks.idle")
        sock.recv(1)
        sock.close()
        process.wait()
        found.append(perf_counter() - start)
    return found


def live(wish: report.Wish) -> dict[str, object]:
    """Create, run, exit: at 10, 100, 1000 ... live workers, up to `count`."""
    row: list[earlyfork.Process] = []
    held, holder = os.pipe()
    result: dict[str, object] = {}
    steps = [n for n in (10, 100, 1000, 3000, 10_000) if n < wish.count] + [wish.count]
    problem = ""
    begin = perf_counter()
    for step in steps:
        try:
            while len(row) < step:
                if perf_counter() - begin > PATIENCE:
                    raise TimeoutError(f"no more were made after {PATIENCE} s")
                add(row, held)
        except OSError as error:
            problem = f"{len(row)}: {error}"
            break
        result[f"at {step}"] = sample()
    private = 0
    for process in row[:: max(1, len(row) // 20)]:
        with open(f"/proc/{process.pid}/smaps_rollup") as file:  # noqa: PTH123
            lines = [line.split() for line in file if line.startswith("Private_")]
        private = max(private, sum(int(words[1]) for words in lines) * 1024)
    start = perf_counter()
    os.close(holder)
    for process in row:
        process.wait()
    ending = (perf_counter() - start) / max(1, len(row))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        **result,
        "ending": [ending],
        "most private": private,
        "problem": problem,
        "limit": limit,
    }


if __name__ == "__main__":
    report.main({"live": live}, warm=0)
