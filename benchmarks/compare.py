"""This tree against another revision, in alternating rounds of one run: what a change cost.

    python benchmarks/compare.py REVISION [--rounds N] [--only faults,import]

Both are built as wheels and installed in a bare venv of their own; both are asked by the probes of
this tree. Each ratio is between neighbours of one round; printed are the medians of the rounds and
the middle half of them. Page faults are counted, the rest is timed: on a noisy machine the first
tell more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from show import mid, spread
from stage import ROOT, Stage, base_python

if TYPE_CHECKING:
    from collections.abc import Callable

PACE = 0.001


def main() -> None:
    """Measure, and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="what git calls the other one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="figures whose names begin so, by commas")
    parser.add_argument("--python", default=base_python(), help="the interpreter to measure with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earlyfork-compare-") as folder:
        other = Path(folder, "other")
        other.mkdir()
        archive = subprocess.run(
            ["git", "archive", options.revision], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "-x", "-C", str(other)], input=archive.stdout, check=True)
        stages = [Stage(options.python, root=other), Stage(options.python)]
        try:
            compare(stages, options.rounds, [word for word in options.only.split(",") if word])
        finally:
            for stage in stages:
                stage.close()


def compare(stages: list[Stage], rounds: int, only: list[str]) -> None:
    """Ask both for every figure, in turn, and who begins in turn as well."""
    wanted = {
        name: ask
        for name, ask in FIGURES.items()
        if not only or any(name.startswith(word) for word in only)
    }
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
    for number in range(rounds):
        for name, ask in wanted.items():
            order = (0, 1) if number % 2 == 0 else (1, 0)
            found = {which: ask(stages[which]) for which in order}
            values[name].append((found[0], found[1]))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    print(f"{'figure':34} {'before':>10} {'now':>10}   now / before [middle half]")
    for name, pairs in values.items():
        before, now = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = [b / a for a, b in pairs]
        low, high = spread(ratios)
        print(
            f"{name:34} {before:10.1f} {now:10.1f}   {statistics.median(ratios):.3f} "
            f"[{low:.3f} .. {high:.3f}]"
        )


def _first_line(stage: Stage) -> float:
    runs = [stage.probe("firstline", "import")["import"][0] for _ in range(15)]
    return statistics.median(runs) * 1e6


def _modules(stage: Stage) -> float:
    return float(stage.probe("firstline", "import")["modules"])


def _faults(standby: str, side: str) -> Callable[[Stage], float]:
    def ask(stage: Stage) -> float:
        env = {"EARLYFORK_STANDBY": standby}
        found = stage.probe("counted", "pages", env=env, count=100, gap=0.004)
        value = found[side]
        return statistics.mean(value) if isinstance(value, list) else float(value)

    return ask


def _all_faults(standby: str) -> Callable[[Stage], float]:
    def ask(stage: Stage) -> float:
        env = {"EARLYFORK_STANDBY": standby}
        found = stage.probe("counted", "pages", env=env, count=100, gap=0.004)
        worker = statistics.mean(found["worker"])
        return float(found["caller"]) + float(found["template"]) + worker

    return ask


def _time(figure: str, key: str, count: int, **more: object) -> Callable[[Stage], float]:
    standby = more.pop("standby", None)
    env = {} if standby is None else {"EARLYFORK_STANDBY": str(standby)}
    if figure == "launch":
        env["EARLYFORK"] = "0"

    def ask(stage: Stage) -> float:
        return mid(stage.probe("ours", figure, env=env, count=count, **more)[key]) * (
            1e6 if figure != "memory" else 1
        )

    return ask


#: What is asked: microseconds, counts, bytes; less is better in all of them.
FIGURES: dict[str, Callable[[Stage], float]] = {
    "import, first line, us": _first_line,
    "modules after it": _modules,
    "faults, 2 standbys, all": _all_faults("2"),
    "faults, 2 standbys, template": _faults("2", "template"),
    "faults, no standby, all": _all_faults("0"),
    "faults, no standby, template": _faults("0", "template"),
    "first byte, paced, us": _time("first", "first", 80, gap=PACE),
    "blocked, paced, us": _time("first", "blocked", 80, gap=PACE),
    "first byte, no standby, us": _time("first", "first", 80, standby=0),
    "one after another, us": _time("rate", "rate", 300),
    "16 in flight, us": _time("flight", "flight", 300),
    "new_exec, first byte, us": _time("launch", "first", 12),
    "private memory, bytes": _time("memory", "private", 20),
}


if __name__ == "__main__":
    main()
