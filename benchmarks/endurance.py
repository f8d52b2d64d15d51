"""Whether anything grows: python benchmarks/endurance.py [cycles], a million if nothing is said.

Creates, runs and ends processes, 16 in flight, and says at each tenth what one of them cost, and
how many fds and how much private memory the program and its template have. The last line compares
the last tenth with the second one. Needs earlyfork.
"""

# ruff: noqa: I001 (the order of imports is the point)
import earlyfork

import os
import sys
from pathlib import Path
from time import perf_counter

WIDTH = 16


def private(pid: int) -> float:
    """USS in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def state(pid: int) -> tuple[int, float]:
    """How many fds, how much private memory."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), private(pid)


def burst(template: earlyfork.Process, count: int) -> float:
    """So many cycles: seconds for each."""
    row: list[earlyfork.Process] = []
    start = perf_counter()
    for _ in range(count):
        if len(row) == WIDTH:
            assert row.pop(0).wait() == 0
        process = template.fork()
        process.run("endurance_task").close()
        row.append(process)
    for process in row:
        assert process.wait() == 0
    return (perf_counter() - start) / count


def main() -> None:
    """Ten tenths."""
    cycles = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    # Its processes are forked from a prepared one, so there are two forkers to look at.
    template = earlyfork.new().eval("def endurance_task(sock): pass").ready()
    burst(template, 500)
    found = []
    for tenth in range(1, 11):
        each = burst(template, cycles // 10)
        row = (each, *state(os.getpid()), *state(template.pid))
        found.append(row)
        print(
            f"{tenth * cycles // 10:9}: {row[0] * 1e6:5.0f} us each; program: {row[1]} fds, "
            f"{row[2]:.2f} MB private; template: {row[3]} fds, {row[4]:.2f} MB private",
            flush=True,
        )
    first, last = found[1], found[-1]
    changes = [now - then for now, then in zip(last, first, strict=True)]
    print(
        f"from the second tenth to the last: {last[0] / first[0] - 1:+.0%} time, "
        f"program {changes[1]:+} fds {changes[2]:+.2f} MB, "
        f"template {changes[3]:+} fds {changes[4]:+.2f} MB"
    )


if __name__ == "__main__":
    main()
