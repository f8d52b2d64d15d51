"""Write the tables of docs/performance.md from the last results.

They stand between `<!-- made by benchmarks/page.py: NAME -->` and `<!-- end of NAME -->`; what is
between is replaced, all else is left as it is. What the last run did not measure is not touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import budgets
from show import brief

HERE = Path(__file__).resolve().parent
ROAD = {line.key for load in budgets.ROAD for line in load.budgets()}
RHYTHM = ("burst", "no pause", "4 ms", "1 s")


class Results:
    """One run's figures, as cells of tables."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.rows = {row["key"]: row for row in found["figures"] if "measured" in row}

    def absolute(self, key: str) -> str:
        """In its unit."""
        row = self.rows.get(key)
        if row is None:
            return ""
        value = row["absolute"]
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
        return f"{value:.{digits}f} {row['unit'].replace('us', 'µs')}"

    def ratio(self, key: str) -> str:
        """With the middle half of the rounds."""
        row = self.rows.get(key)
        if row is None:
            return ""
        half = f"[{brief(row['low'])} .. {brief(row['high'])}]"
        return f"{brief(row['measured'])} {half}" if row["measure"] == "x" else half

    def limits(self, key: str) -> str:
        """Must, goal, and which of them is held."""
        row = self.rows.get(key)
        if row is None or row["must"] is None:
            return ""
        unit = "" if row["measure"] == "x" else f" {row['measure']}"
        goal = "" if row["goal"] is None else f", {row['goal']:g}{unit}"
        word = {"goal": "goal held", "must": "must held"}.get(row["verdict"], "**missed**")
        return f"{row['must']:g}{unit}{goal}: {word}"

    def seconds(self, key: str) -> float | None:
        """A figure that has no line of its own."""
        row = self.found["seconds"].get(key)
        return None if row is None else float(row["median"])

    # -- the tables ---------------------------------------------------------------------------

    def made(self) -> str:
        """How it was measured."""
        found = self.found
        first = self.rows.get("first") or next(iter(self.rows.values()))
        busy = ""
        if found["load"][0] > found["cpus"] / 2:
            busy = " **The machine was busy with other things**, so these figures say little."
        rounds = first["rounds"]
        return (
            f"How it was measured: on {found['date'][:10]}, by `make bench`, on an "
            f"{found['processor']} with {found['cpus']} CPUs, {found['system']} and CPython "
            f"{found['python']}, with earlyfork in a bare venv, at {found['revision']}. Each "
            f"figure is the median of {rounds} alternating rounds (of fewer for what takes long), "
            f"with the middle half in brackets.{busy} No figure here is a promise."
        )

    def track(self) -> str:
        """The bare figures."""
        lines = [
            "| figure | earlyfork | against R (or what is named) | must, goal |",
            "|---|---|---|---|",
        ]
        for budget in budgets.BUDGETS:
            key = budget.key
            if key in self.rows and budget.must is not None and key not in ROAD:
                ratio = self.ratio(key)
                lines.append(
                    f"| {budget.title} | {self.absolute(key)} | {ratio} | {self.limits(key)} |"
                )
        return "\n".join(lines)

    def road(self) -> str:
        """What users ask for."""
        titles = ["asked of a template"]
        titles += ["first byte", "against R", "must, goal", "rate", "against R", "must, goal"]
        titles += ["AnyEvent::Fork's rate", "against that", "must, goal"]
        lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
        for load in budgets.ROAD:
            first, rate, aef = (f"{load.carry}: {word}" for word in ("first", "rate", "rate, AEF"))
            if first not in self.rows:
                continue
            cells = [f"`{load.title}`" if "(" in load.title else load.title]
            for key in (first, rate):
                cells += [self.absolute(key), self.ratio(key), self.limits(key)]
            peer = self.seconds(f"{load.carry}: AEF rate")
            cells += ["" if peer is None else f"{1 / peer:.0f} /s", self.ratio(aef)]
            cells.append(self.limits(aef))
            lines.append(f"| {' | '.join(cells)} |")
        lines += [text for load in budgets.ROAD if (text := self.import_alone(load))]
        return "\n".join(lines)

    def import_alone(self, load: budgets.Load) -> str:
        """What the import alone costs, in a child of R."""
        key = f"{load.carry}: import, R"
        if key not in self.rows:
            return ""
        return (
            f"\n`{load.title}`: a child of R that imports the same modules, and does nothing else, "
            f"is at {self.ratio(key)} of R's rate; a worker of earlyfork at "
            f"{self.ratio(f'{load.carry}: rate, R')} of that."
        )

    def rhythm(self) -> str:
        """How a template keeps step."""
        lines = [
            "| a prepared template is asked | first byte | against R in the same rhythm |",
            "|---|---|---|",
        ]
        titles = {budget.key: budget.title for budget in budgets.BUDGETS}
        for key in RHYTHM:
            if key in self.rows:
                title = titles[key].removesuffix(" / R").removeprefix("first byte, ")
                lines.append(f"| {title} | {self.absolute(key)} | {self.ratio(key)} |")
        return "\n".join(lines)


def replace(text: str, name: str, block: str) -> str:
    """Put a block in its place."""
    begin, end = f"<!-- made by benchmarks/page.py: {name} -->", f"<!-- end of {name} -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        sys.exit(f"the page has no place for {name!r}: no {begin} ... {end}")
    return f"{head}{begin}\n{block}\n{end}{tail}"


def main() -> None:
    """Read the results, write the page; or print the tables of any results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "latest.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    parser.add_argument("--print", action="store_true", help="on the terminal, not into the page")
    options = parser.parse_args()
    if not options.results.exists():
        sys.exit("no results yet: python benchmarks/run.py makes them")
    results = Results(json.loads(options.results.read_text()))
    blocks = {
        "made": results.made(),
        "track": results.track(),
        "road": results.road(),
        "rhythm": results.rhythm(),
    }
    full = {
        name: block for name, block in blocks.items() if name == "made" or block.count("\n") > 1
    }
    if options.print:
        print("\n\n".join(full.values()))
        return
    text = options.page.read_text()
    for name, block in full.items():
        text = replace(text, name, block)
    options.page.write_text(text)


if __name__ == "__main__":
    main()
