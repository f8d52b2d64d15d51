"""The start method "earlyfork" against fork, forkserver and spawn, in alternating rounds.

    python benchmarks/mp.py [--rounds 7] [--size 200]

Each figure comes from a program of its own, run by the interpreter that runs this (which must have
earlyfork, and numpy for the second part); one line per method and figure, the median of all
rounds, and the median of the ratios between neighbours of one round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

METHODS = ("earlyfork", "fork", "forkserver", "spawn")

START = """\
import sys, time
method, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if method == "earlyfork" and __name__ == "__main__":
    import earlyfork
if method == "earlyfork":
    import earlyfork.mp
import json, multiprocessing
def nothing():
    pass
def main():
    ctx = multiprocessing.get_context(method)
    ballast = bytearray(size << 20)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1
    def one():
        process = ctx.Process(target=nothing)
        began = time.perf_counter()
        process.start()
        started = time.perf_counter()
        process.join()
        ended = time.perf_counter()
        assert process.exitcode == 0
        process.close()
        return started - began, ended - began
    for _ in range(3):
        one()
    blocked, whole = zip(*[one() for _ in range(count)])
    blocked, whole = sorted(blocked), sorted(whole)
    print(json.dumps({
        "start() blocks, us": blocked[count // 2] * 1e6,
        "start() + join(), us": whole[count // 2] * 1e6,
        "start() + join(), per second": count / sum(whole),
    }))
if __name__ == "__main__":
    main()
"""

FIRST = """\
import sys, time
method = sys.argv[1]
if method == "earlyfork" and __name__ == "__main__":
    import earlyfork
if method == "earlyfork":
    import earlyfork.mp
import json, multiprocessing
from concurrent.futures import ProcessPoolExecutor
import numpy
def work(n):
    return float(numpy.ones(n).sum())
def main():
    began = time.perf_counter()
    with ProcessPoolExecutor(8, mp_context=multiprocessing.get_context(method)) as executor:
        futures = [executor.submit(work, n) for n in range(1, 9)]
        submitted = time.perf_counter()
        futures[0].result()
        first = time.perf_counter()
        assert [future.result() for future in futures] == list(range(1, 9))
        last = time.perf_counter()
    print(json.dumps({
        "executor(8), 8 submits block, ms": (submitted - began) * 1e3,
        "executor(8), first result, ms": (first - began) * 1e3,
        "executor(8), all 8 results, ms": (last - began) * 1e3,
        "executor(8), until shut down, ms": (time.perf_counter() - began) * 1e3,
    }))
if __name__ == "__main__":
    main()
"""


def measure(folder: Path, text: str, *args: object) -> dict[str, float]:
    program = folder / "program.py"
    program.write_text(text)
    command = [sys.executable, str(program), *map(str, args)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=200, help="MB of the parent")
    options = parser.parse_args()
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(options.rounds):
            found: dict[str, dict[str, float]] = {}
            for method in METHODS:
                count = 5 if method == "spawn" else 25
                found[method] = measure(folder, START, method, options.size, count)
                if importlib.util.find_spec("numpy") is not None:
                    found[method].update(measure(folder, FIRST, method))
            rounds.append(found)
    print(f"Python {sys.version.split()[0]}, {options.rounds} rounds, parent of {options.size} MB")
    print(f"{'':36}{''.join(f'{method:>12}' for method in METHODS)}    earlyfork is better by")
    for figure in rounds[0]["earlyfork"]:
        line = f"{figure:36}"
        for method in METHODS:
            line += f"{statistics.median(r[method][figure] for r in rounds):12.1f}"
        for method in METHODS[1:]:
            ratios = [r[method][figure] / r["earlyfork"][figure] for r in rounds]
            if figure.endswith("per second"):
                ratios = [1 / ratio for ratio in ratios]
            line += f"  {statistics.median(ratios):.2f} x {method}"
        print(line)


if __name__ == "__main__":
    main()
