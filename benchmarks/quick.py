"""A look at the main figures within some 15 s, with the source tree as it is: python benchmarks/quick.py

Alternating rounds of R (bare os.fork) and of earlyfork, both in `python -I -S`. Ratios to R.
`quick.py ROUNDS` makes it longer or shorter; PYTHON in the environment chooses the interpreter.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON = os.environ.get("PYTHON", sys.executable)
GAP = "0.004"  # between requests, so that standbys are there: "steady use"


def probe(name, figure, count, gap="0", standby=None):
    env = {"PATH": os.environ["PATH"], "BENCH_PATH": str(HERE.parent / "src")}
    if standby is not None:
        env["EARLYFORK_STANDBY"] = standby
    command = [PYTHON, "-I", "-S", HERE / "probes" / f"{name}.py", figure, str(count), gap, "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        sys.exit(f"{name} {figure} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kept, quiet = {}, {}

    def keep(key, samples):
        kept.setdefault(key, []).append(statistics.median(samples) * 1e6)
        quiet.setdefault(key, []).extend(samples)

    for _ in range(rounds):
        found = probe("bare", "cycle", 200)
        keep("R cycle", found["cycle"])
        keep("R fork() returns", found["blocked"])
        keep("R cycle, paced", probe("bare", "cycle", 60, GAP)["cycle"])
        keep("R per creation", probe("bare", "rate", 150)["rate"])
        found = probe("ours", "first", 60, GAP)
        keep("first byte, standby", found["first"])
        keep("blocked, standby", found["blocked"])
        found = probe("ours", "fork", 60, GAP)
        keep("fork() first byte, standby", found["first"])
        found = probe("ours", "first", 100, "0")
        keep("first byte, standby, no pause", found["first"])
        found = probe("ours", "first", 100, "0", "0")
        keep("first byte, none", found["first"])
        keep("blocked, none", found["blocked"])
        keep("sequential", probe("ours", "rate", 150)["rate"])
        keep("sequential, none", probe("ours", "rate", 150, "0", "0")["rate"])
        keep("16 in flight", probe("ours", "flight", 200)["flight"])
    print(f"{'':32} {'median of rounds':>20}   x R      {'best decile':>11}   x R     must (goal)")
    for key, value in kept.items():
        low, middle, high = statistics.quantiles(value, n=4) if len(value) > 1 else value * 3
        best = decile(quiet[key])
        line = f"{key:32} {middle:6.0f} us [{low:4.0f} ..{high:5.0f}]"
        unit, must = WANTED.get(key, ("", ""))
        rate = unit == "R per creation"
        ratios = ["", ""]
        if unit:
            pairs = [(statistics.median(kept[unit]), middle), (decile(quiet[unit]), best)]
            ratios = [f"{a / b if rate else b / a:.2f}" for a, b in pairs]
        print(f"{line} {ratios[0]:>6} {best:10.0f} us {ratios[1]:>6}   {must}")


def decile(samples):
    """What one tenth of the samples stay below: hardly moved by what else this machine does."""
    return sorted(samples)[len(samples) // 10] * 1e6


WANTED = {
    "first byte, standby": ("R cycle", "<= 0.50 (0.25)"),
    "fork() first byte, standby": ("R cycle", "<= 0.50 (0.25)"),
    "first byte, standby, no pause": ("R cycle", "(for information)"),
    "first byte, none": ("R cycle", "<= 2.0 (1.3)"),
    "blocked, standby": ("R fork() returns", "<= 0.45 (0.25)"),
    "blocked, none": ("R fork() returns", "(for information)"),
    "sequential": ("R per creation", ">= 0.8 (1.0)"),
    "sequential, none": ("R per creation", "(for information)"),
    "16 in flight": ("R per creation", ">= 1.0 (1.5)"),
}


if __name__ == "__main__":
    main()
