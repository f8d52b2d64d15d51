"""Draw the picture of the README from the last results.

Above, what users ask of a template (the road), as a multiple of os.fork(), with AnyEvent::Fork and
what must be held; below, creations per second and first byte by the size of the parent, with the
peers' curves. Needs matplotlib (the extra `bench`); what the last run did not measure is not drawn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import budgets

if TYPE_CHECKING:
    from collections.abc import Callable

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


def road(results: dict[str, Any], key: str) -> dict[str, list[tuple[str, float]]]:
    """Per peer, what was asked and the ratio to R; "must" among them. Key: first or rate."""
    figures = {row["key"]: row for row in results["figures"] if "measured" in row}
    seconds = {name: row["median"] for name, row in results["seconds"].items()}
    found: dict[str, list[tuple[str, float]]] = {"AnyEvent::Fork (Perl)": [], "earlyfork": []}
    found["must"] = []
    for load in reversed(budgets.ROAD):
        row = figures.get(f"{load.carry}: {key}")
        if row is None:
            continue
        found["earlyfork"].append((load.title, row["measured"]))
        if row["must"] is not None:
            found["must"].append((load.title, row["must"]))
        peer = seconds.get(f"{load.carry}: AEF {key}")
        base = seconds[f"{load.carry}: R" + (", as rate" if key == "rate" else "")]
        if peer is not None:
            ratio = base / peer if key == "rate" else peer / base
            found["AnyEvent::Fork (Perl)"].append((load.title, ratio))
    return found


def draw(results: dict[str, Any], target: Path) -> None:
    """The road above, the track below; all axes of figures logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "earlyfork"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        2, 2, figsize=(10.5, 8.6), layout="constrained", height_ratios=(1.15, 1)
    )
    views = (
        ("rate", "creations per second / os.fork()'s"),
        ("first", "first byte from user code / os.fork()"),
    )
    for panel, (key, title) in zip(panels[0], views, strict=True):
        draw_road(panel, road(results, key), title)
    panels[0][1].set_yticklabels([])
    views = (
        ("rate", "creations per second, nothing sent", lambda v: 1 / v),
        ("first", "first byte from user code, ms, nothing sent", lambda v: v * 1e3),
    )
    for panel, (key, title, convert) in zip(panels[1], views, strict=True):
        draw_track(panel, curves(results, key), title, convert)
    handles, labels = panels[1][1].get_legend_handles_labels()
    more, names = panels[0][0].get_legend_handles_labels()
    handles += [more[names.index(name)] for name in ("must",) if name in names]
    labels += [name for name in ("must",) if name in names]
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
    figure.suptitle(
        f"{results['processor']}, {results['cpus']} CPUs, CPython {results['python']}, "
        f"earlyfork {results['earlyfork']}, {results['date'][:10]}",
        fontsize=8,
        color="#666666",
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150, metadata={"Date": None} if target.suffix == ".svg" else None)


def draw_road(panel: Any, found: dict[str, list[tuple[str, float]]], title: str) -> None:
    """What is asked, from above to below, and what it costs."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    titles = [name for name, _ in found["earlyfork"]]
    for name, points in found.items():
        colour, mark = LOOKS.get(name, ("#95a5a6", "|"))
        panel.plot(
            [value for _, value in points],
            [titles.index(what) for what, _ in points],
            color=colour,
            marker=mark,
            linestyle="none",
            markersize=7 if name == "earlyfork" else 14 if name == "must" else 6,
            zorder=3 if name == "earlyfork" else 2,
            label=name,
        )
    panel.axvline(1, color=LOOKS["os.fork"][0], linewidth=1.4, zorder=1)
    panel.set_xscale("log")
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.set_yticks(range(len(titles)), titles, fontsize=9)
    panel.set_title(title, fontsize=10)
    panel.grid(visible=True, which="major", alpha=0.25)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def draw_track(
    panel: Any,
    found: dict[str, list[tuple[float, float]]],
    title: str,
    convert: Callable[[float], float],
) -> None:
    """By the size of the parent."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    for name, points in found.items():
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
