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


def decile(samples: Sequence[float]) -> float:
    """What one tenth of the samples stay below."""
    return sorted(samples)[len(samples) // 10]


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
    """First byte and rate against R: of the medians, and of what a tenth of the samples stay below.

    The second hardly moves with what else the machine does.
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        bare = stage.probe("bare", "first", flags=BARE, count=100, gap=GAP)["first"]
        cycle = stage.probe("bare", "cycle", flags=BARE, count=200)["cycle"]
        ours = stage.probe("big", "times", count=100, gap=GAP, **wish)
        for name, of in (("", middle), (", calm", decile)):
            found.setdefault(f"first byte{name}", []).append(of(ours["first"]) / of(bare))
            found.setdefault(f"rate{name}", []).append(of(cycle) / of(ours["cycle"]))
        found.setdefault("seconds to compact", []).append(ours["compacting"])
    print(f"{wish}:")
    for name, values in found.items():
        low, high = min(values), max(values)
        print(f"  {name:20} {middle(values):.3f} [{low:.3f} .. {high:.3f}]", flush=True)


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
