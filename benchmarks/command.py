"""Commands against subprocess, in alternating rounds of one program, as ratios.

    python benchmarks/command.py [--rounds 100] [--size 1024] [--table]

Three programs are measured: a small one; one of that many MB with two busy threads; and that size
with something to be called before the command (`prepare=` against `preexec_fn`). "whole" is from
the call to the known exit of /bin/true, "blocked" until it returns. The ratio is of neighbours
in one round; its median is shown, with what is wanted of it. With `--table` the lines are those of
the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import earlyfork  # the first line of a program: before it is large and has threads
from earlyfork import command

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE = ["/bin/true"]
#: Program: figure: must and goal, as ratios to subprocess.
WANTED = {
    "small": {"run, whole": (1.1, 1.0), "exec, whole": (1.1, 1.0), "exec, blocked": (0.5, 0.1)},
    "large, busy": {
        "exec, blocked": (0.05, 0.01),
        "Popen, blocked": (1.0, 0.5),
        "run, whole": (1.0, 0.5),
    },
    "prepare": {"Popen, whole": (0.1, 0.06)},
}
#: Program, and figure, in words.
WORDS = {
    "small": "small program",
    "large, busy": "1 GB, two busy threads",
    "prepare": "1 GB, `prepare` against `preexec_fn`",
    "run, whole": "`command.Popen` and its end, whole",
    "Popen, whole": "`command.Popen` and its end, whole",
    "Popen, blocked": "caller blocked in `command.Popen`",
    "exec, whole": "`new().exec()` and its end, whole",
    "exec, blocked": "caller blocked in `exec`",
}


def nothing() -> None:
    """Before the command."""


def popen(make: Callable[..., Any], **options: Any) -> tuple[float, float]:
    """One command: blocked, whole."""
    began = time.perf_counter()
    process = make(TRUE, **options)
    returned = time.perf_counter()
    assert process.wait() == 0
    return returned - began, time.perf_counter() - began


def execute() -> tuple[float, float]:
    """The same by Process.exec."""
    began = time.perf_counter()
    process = earlyfork.new().exec(TRUE)
    returned = time.perf_counter()
    assert process.wait() == 0
    return returned - began, time.perf_counter() - began


def spin(end: threading.Event) -> None:
    """Hold the interpreter's lock."""
    while not end.is_set():
        pass


def measure(program: str, size: int, rounds: int) -> dict[str, list[float]]:
    """The ratios, and subprocess's own figures in microseconds."""
    ballast = b"" if program == "small" else bytearray(b"x") * (size << 20)
    end = threading.Event()
    if program == "large, busy":
        for _ in range(2):
            threading.Thread(target=spin, args=(end,), daemon=True).start()
    theirs_options = {"preexec_fn": nothing} if program == "prepare" else {}
    # A function of this very program is none of a clean process: any name of a module will do.
    ours_options = {"prepare": "os.getpid"} if program == "prepare" else {}
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for number in range(rounds + 5):
        theirs = popen(subprocess.Popen, **theirs_options)
        ours = popen(command.Popen, **ours_options)
        by_exec = execute()
        time.sleep(0.004)  # so that standbys are there again: steady use
        if number < 5:
            continue
        note("subprocess, blocked, us", theirs[0] * 1e6)
        note("subprocess, whole, us", theirs[1] * 1e6)
        for name, times in (("Popen", ours), ("exec", by_exec)):
            note(f"{name}, blocked", times[0] / theirs[0])
            note(f"{name}, whole", times[1] / theirs[1])
        note("run, whole", ours[1] / theirs[1])
    end.set()
    assert len(ballast) in (0, size << 20)
    return found


def row(program: str, name: str, ratio: float, wanted: tuple[float, float]) -> str:
    """A line of the table in docs/performance.md."""
    must, goal = wanted
    cells = (
        f"{WORDS[program]}: {WORDS[name]}",
        f"{ratio:.3g}",
        f"{must}: {'held' if ratio <= must else 'missed'}",
        f"{goal}: held" if ratio <= goal else str(goal),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each program in a process of its own, and print a line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--size", type=int, default=1024, help="MB of the large programs")
    parser.add_argument("--table", action="store_true", help="lines of docs/performance.md")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(json.dumps(measure(options.program, options.size, options.rounds)))
        return
    for program, figures in WANTED.items():
        rounds = options.rounds if program == "small" else max(options.rounds // 3, 10)
        words = ["--program", program, "--rounds", str(rounds), "--size", str(options.size)]
        done = subprocess.run(
            [sys.executable, __file__, *words], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        theirs = () if options.table else ("subprocess, blocked, us", "subprocess, whole, us")
        for name in theirs:
            print(f"{program:12}  {name:24} {statistics.median(found[name]):8.0f}")
        for name, wanted in figures.items():
            ratio = statistics.median(found[name])
            low, high = statistics.quantiles(found[name], n=4)[::2]
            if options.table:
                print(row(program, name, ratio, wanted))
                continue
            text = f"  must {wanted[0]}, goal {wanted[1]}"
            print(f"{program:12}  {name:24} {ratio:8.3f}  ({low:.3f} to {high:.3f}){text}")


if __name__ == "__main__":
    main()
