"""Whether a process is made as fast in a one-file app as unfrozen: python benchmarks/frozen.py.

Builds benchmarks/probes/frozen_app.py with PyInstaller into a temporary directory, then runs it
frozen and as it stands in alternating rounds. Needs earlyfork (a wheel) and PyInstaller.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROBES = Path(__file__).parent / "probes"
ROUNDS, SPAWNS = 11, 150


def build(place: Path) -> Path:
    options = ["--onefile", "--log-level=WARN", f"--distpath={place}", f"--workpath={place / 'w'}"]
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, f"--specpath={place}", "frozen_app.py"],
        cwd=PROBES,
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(place / "config")},
        check=True,
    )
    return place / "frozen_app"


def microseconds(command: list[str | Path]) -> float:
    done = subprocess.run(
        [*command, str(SPAWNS)], cwd=PROBES, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        binary = build(Path(name))
        pairs = [
            (microseconds([binary]), microseconds([sys.executable, "frozen_app.py"]))
            for _ in range(ROUNDS)
        ]
    frozen, plain = (min(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(f / p for f, p in pairs)
    print(
        f"new() to the first byte, calmest round: one file {frozen:.0f} us, unfrozen {plain:.0f} us"
    )
    print(f"ratio {frozen / plain:.2f}; median of the {ROUNDS} rounds' ratios {ratio:.2f}")


if __name__ == "__main__":
    main()
