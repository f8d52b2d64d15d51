"""What a template with much memory costs, as it is and in huge pages: a minute and a half.

    python benchmarks/big.py [ROUNDS]

R and earlyfork in alternating rounds, each in a process of its own; ratios are of this one run.
"""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

from stage import Stage, base_python

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a template holds, in MB.
HOLDS = {"buffer": 1024, "objects": 400}
BARE = ("-I", "-S")
GAP = 0.004


def middle(samples: Sequence[float]) -> float:
    """The median."""
    return statistics.median(samples)


def main() -> None:
    """Measure, and print one line for each kind of template."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    stage = Stage(base_python())
    try:
        for method, holds in HOLDS.items():
            for compact in (0, 1):
                wish = {"method": method, "holds": holds, "compact": compact}
                times(stage, rounds, wish)
                memory(stage, wish)
        for compact in (0, 1):
            wish = {"method": "buffer", "holds": 256, "compact": compact}
            found = stage.probe("big", "writes", count=10, **wish)["writes"]
            first, second = (middle(each) for each in zip(*found, strict=True))
            print(f"compact {compact}: write to each 2 MB {first:.1f} us, the next {second:.1f} us")
    finally:
        stage.close()


def times(stage: Stage, rounds: int, wish: dict[str, object]) -> None:
    """First byte and rate against R."""
    firsts, rates, took, own, base = [], [], [], [], []
    for _ in range(rounds):
        bare = stage.probe("bare", "first", flags=BARE, count=100, gap=GAP)["first"]
        cycle = stage.probe("bare", "cycle", flags=BARE, count=200)["cycle"]
        found = stage.probe("big", "times", count=60, gap=GAP, **wish)
        firsts.append(middle(found["first"]) / middle(bare))
        rates.append(statistics.fmean(cycle) / statistics.fmean(found["cycle"]))
        took.append(found["compacting"])
        own.append(middle(found["cycle"]))
        base.append(middle(cycle))
    print(
        f"{wish}: first byte {middle(firsts):.2f} x R {spread(firsts)}, "
        f"rate {middle(rates):.3f} x R {spread(rates)}, "
        f"cycle {middle(own) * 1e3:.2f} ms (R {middle(base) * 1e3:.2f}), "
        f"made compact in {middle(took):.2f} s",
        flush=True,
    )


def spread(values: Sequence[float]) -> str:
    """The least and the most."""
    return f"[{min(values):.3f} .. {max(values):.3f}]"


def memory(stage: Stage, wish: dict[str, object]) -> None:
    """Memory of the template with eight workers."""
    found = stage.probe("big", "memory", width=8, **wish)
    print(
        f"  with 8 workers {found['idle']:.0f} MB; when each has touched all {found['touch']:.0f} "
        f"MB, which takes each {middle(found['seconds']):.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
