"""A look at the main figures in some 20 s, of the source tree as it is, for those who work on it.

    python benchmarks/quick.py [ROUNDS]

Alternating rounds of R (bare os.fork) and of earlyfork, both in `python -I -S`, and ratios to R.
Under load look at the best decile, which hardly moves. BENCH_SRC in the environment is another
folder to take earlyfork from.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = os.environ.get("BENCH_SRC", str(HERE.parent / "src"))
PACE = "0.001"  # between requests, so that standbys are there again: steady use

WANTED = {
    "first byte": ("R, paced", "<= 0.50 (0.25)"),
    "fork() first byte": ("R, paced", "<= 0.50 (0.25)"),
    "first byte, no pause": ("R", ""),
    "first byte, no standby": ("R", "<= 2.0 (1.3)"),
    "blocked": ("the same, paced", "<= 0.45 (0.25)"),
    "blocked, no standby": ("R's fork() returns", ""),
    "sequential": ("R as rate", ">= 0.8 (1.0)"),
    "sequential, no standby": ("R as rate", ""),
    "16 in flight": ("R as rate", ">= 1.0 (1.5)"),
}


def probe(
    name: str, figure: str, count: int, gap: str = "0", standby: str | None = None
) -> dict[str, list[float]]:
    """Run one probe on the source tree."""
    env = {"PATH": os.environ["PATH"], "BENCH_PATH": SOURCE}
    if standby is not None:
        env["EARLYFORK_STANDBY"] = standby
    script = str(HERE / "probes" / f"{name}.py")
    command = [sys.executable, "-I", "-S", script, figure, f"count={count}", f"gap={gap}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        sys.exit(f"{name} {figure} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    found: dict[str, list[float]] = json.loads(done.stdout)
    if name == "ours" and not found["early"]:
        print(f"warning: no early template ({figure}); these are figures of a launched one")
    return found


def decile(samples: list[float]) -> float:
    """What one tenth of the samples stay below, in microseconds."""
    return sorted(samples)[len(samples) // 10] * 1e6


def main() -> None:
    """Measure, and print one line for each figure."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    kept: dict[str, list[float]] = {}
    best: dict[str, list[float]] = {}

    def keep(key: str, samples: list[float]) -> None:
        kept.setdefault(key, []).append(statistics.median(samples) * 1e6)
        best.setdefault(key, []).extend(samples)

    for _ in range(rounds):
        found = probe("bare", "cycle", 200)
        keep("R", found["cycle"])
        keep("R's fork() returns", found["blocked"])
        found = probe("bare", "cycle", 60, PACE)
        keep("R, paced", found["cycle"])
        keep("the same, paced", found["blocked"])
        keep("R as rate", probe("bare", "rate", 200)["rate"])
        found = probe("ours", "first", 60, PACE)
        keep("first byte", found["first"])
        keep("blocked", found["blocked"])
        keep("fork() first byte", probe("ours", "fork", 60, PACE)["first"])
        keep("first byte, no pause", probe("ours", "first", 100)["first"])
        found = probe("ours", "first", 80, standby="0")
        keep("first byte, no standby", found["first"])
        keep("blocked, no standby", found["blocked"])
        keep("sequential", probe("ours", "rate", 200)["rate"])
        keep("sequential, no standby", probe("ours", "rate", 200, standby="0")["rate"])
        keep("16 in flight", probe("ours", "flight", 200)["flight"])
    print(
        f"{'':26} {'median of rounds':>22} {'x R':>7} {'best decile':>13} {'x R':>6}  must (goal)"
    )
    for key, values in kept.items():
        middle, low = statistics.median(values), decile(best[key])
        line = f"{key:26} {middle:6.0f} us [{min(values):5.0f} ..{max(values):6.0f}]"
        unit, must = WANTED.get(key, ("", ""))
        if not unit:
            print(f"{line} {'':6} {low:10.0f} us")
            continue
        pairs = [(middle, statistics.median(kept[unit])), (low, decile(best[unit]))]
        whole, calm = (b / a if unit == "R as rate" else a / b for a, b in pairs)
        print(f"{line} {whole:6.2f} {low:10.0f} us {calm:6.2f}  {must}")


if __name__ == "__main__":
    main()
