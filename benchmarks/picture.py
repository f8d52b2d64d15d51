"""Draw the picture of the README from the last results.

Creations per second and first-byte latency by the size of the parent, with the peers' curves.
Needs matplotlib (the extra `bench`); what the last run did not measure is not drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: A colour and a mark for each, so that a curve looks the same in every picture.
LOOKS = {
    "earlyfork": ("#c0392b", "o"),
    "os.fork": ("#2c3e50", "s"),
    "mp fork": ("#7f8c8d", "^"),
    "mp forkserver": ("#2980b9", "D"),
    "mp spawn": ("#8e44ad", "v"),
    "subprocess": ("#27ae60", "P"),
    "AnyEvent::Fork (Perl)": ("#d68910", "X"),
}


def curves(results: dict[str, Any], key: str) -> dict[str, list[tuple[float, float]]]:
    """Per peer the points (parent in MB, median in seconds)."""
    return {
        name: sorted((int(size), statistics.median(values)) for size, values in row[key].items())
        for name, row in results["curves"].items()
        if key in row
    }


def draw(results: dict[str, Any], target: Path) -> None:
    """Two panels, all axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "earlyfork"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    views = (
        ("rate", "creations per second\n(create, exit seen, one after another)", lambda v: 1 / v),
        ("first", "first byte from user code, ms", lambda v: v * 1e3),
    )
    for panel, (key, title, convert) in zip(panels, views, strict=True):
        for name, points in curves(results, key).items():
            colour, mark = LOOKS.get(name, ("#555555", "."))
            ours = name == "earlyfork"
            panel.plot(
                [size for size, _ in points],
                [convert(value) for _, value in points],
                color=colour,
                marker=mark,
                linewidth=2.6 if ours else 1.4,
                markersize=7 if ours else 5,
                zorder=3 if ours else 2,
                label=name,
            )
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks([20, 200, 2000], ["20 MB", "200 MB", "2 GB"])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.set_xlabel("size of the parent")
        panel.set_title(title, fontsize=10)
        panel.grid(visible=True, which="major", alpha=0.25)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    figure.suptitle(
        f"{results['processor']}, {results['cpus']} CPUs, CPython {results['python']}, "
        f"earlyfork {results['earlyfork']}, {results['date'][:10]}",
        fontsize=8,
        color="#666666",
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, metadata={"Date": None} if target.suffix == ".svg" else None)


def main() -> None:
    """Read the results, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "benchmark.svg")
    options = parser.parse_args()
    if not options.results.exists():
        sys.exit("no results yet: python benchmarks/run.py makes them")
    draw(json.loads(options.results.read_text()), options.output)


if __name__ == "__main__":
    main()
