"""What a run shows: its surroundings, and its tables on the terminal."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import statistics
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import budgets
from stage import ROOT

if TYPE_CHECKING:
    from run import Bench


def mid(samples: list[float]) -> float:
    """The median."""
    return statistics.median(samples)


def spread(values: list[float]) -> tuple[float, float]:
    """The ends of the middle half."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


# -- what the run was made on --------------------------------------------------------------------


def surroundings(bench: Bench) -> dict[str, Any]:
    """Machine, versions, date."""
    output = subprocess.run(
        [bench.stage.python, "-c", "import platform;print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "quick": bench.quick,
        "machine": platform.machine(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": output.stdout.strip(),
        "earlyfork": package_version(),
        "revision": revision(),
        "load": [round(bench.load, 2), round(os.getloadavg()[0], 2)],
        "modules": bench.modules,
    }
    for name in ("loky", "trio-parallel"):
        if name not in bench.missing:
            result[name] = version(name)
    return result


def processor() -> str:
    """What the processor calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    lines = [line for line in text.splitlines() if line.startswith("model name")]
    return lines[0].partition(":")[2].strip() if lines else platform.processor()


def package_version() -> str:
    """Of the tree that is measured."""
    text = (ROOT / "src" / "earlyfork" / "__init__.py").read_text()
    line = next(line for line in text.splitlines() if line.startswith("__version__"))
    return line.split('"')[1]


def revision() -> str:
    """The commit, and whether the tree differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    if shutil.which("git") is None or not git("rev-parse", "--short", "HEAD"):
        return "unknown"
    changed = " and changes" if git("status", "--porcelain", "--", "src") else ""
    return git("rev-parse", "--short", "HEAD") + changed


def brief(value: float) -> str:
    """A ratio, with two digits at least."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


# -- what is shown -------------------------------------------------------------------------------


def rows(bench: Bench) -> list[dict[str, Any]]:
    """The lines of the table."""
    result = []
    for budget in budgets.BUDGETS:
        values = bench.absolute.get(budget.key)
        row: dict[str, Any] = {"key": budget.key, "figure": budget.title, "must": budget.must}
        row |= {"goal": budget.goal, "measure": budget.measure}
        if not values:
            if budget.must is not None and not bench.only:
                result.append({**row, "verdict": "not measured"})
            continue
        scale = budgets.SCALE[budget.unit]
        absolute = 1 / mid(values) if budget.unit == "/s" else mid(values) * scale
        # The least disturbed rounds of both sides: all that a busy machine leaves to be known.
        calm = min(values) * scale
        if budget.measure == "x":
            measured = bench.ratios[budget.key]
            pair = (min(values), min(bench.bases[budget.key]))
            calm = pair[1] / pair[0] if budget.at_least else pair[0] / pair[1]
        else:
            measured = [value * scale for value in values]
        low, high = spread(measured)
        row |= {"measured": mid(measured), "low": low, "high": high, "rounds": len(measured)}
        row |= {"absolute": absolute, "unit": budget.unit, "calm": calm}
        row["verdict"] = budgets.verdict(budget, row["measured"])
        result.append(row)
    return result


def table(lines: list[dict[str, Any]]) -> list[str]:
    """As text."""
    head = f"{'figure':54} {'must':>9} {'goal':>7} {'reached':>9}"
    out = [f"{head}  {'middle half':14} {'calmest':>7} {'absolute':>11}"]
    sign = {budget.key: ">=" if budget.at_least else "<=" for budget in budgets.BUDGETS}
    for row in lines:
        unit = "" if row["measure"] == "x" else f" {row['measure']}"
        must = goal = ""
        if row["must"] is not None:
            must = f"{sign[row['key']]} {row['must']:g}{unit}"
            goal = "" if row["goal"] is None else f"{row['goal']:g}"
        line = f"{row['figure']:54} {must:>9} {goal:>7} "
        if "measured" in row:
            half = f"{brief(row['low'])} .. {brief(row['high'])}"
            absolute = f"{row['absolute']:.{0 if row['absolute'] >= 100 else 2}f} {row['unit']}"
            line += (
                f"{brief(row['measured']):>9}  {half:14} {brief(row['calm']):>7} {absolute:>11} "
            )
        else:
            line += " " * 45
        out.append(f"{line} {row['verdict']}")
    return out


def peer_table(bench: Bench) -> list[str]:
    """The peers and ourselves, in absolute numbers."""
    out: list[str] = []

    def line(
        name: str, first: list[float], blocked: list[float], rate: list[float], size: float = 0
    ) -> None:
        memory = f"{size / 1e6:.2f} MB" if size else ""
        held = f"{mid(blocked) * 1e6:.0f} us" if blocked and mid(blocked) else ""
        speed = f"{1 / mid(rate):.0f}/s" if rate else ""
        out.append(f"{name:26} {mid(first) * 1e6:9.0f} us {held:>12} {speed:>18} {memory:>9}")

    kept = bench.absolute
    rate = kept.get("rate", [])
    if "first" in kept:
        size = mid(kept["memory"]) if "memory" in kept else 0
        line("earlyfork", kept["first"], kept["blocked"], rate, size)
        rate = kept.get("rate, none", rate)
        line("earlyfork, no standby", kept["first, none"], kept["blocked, none"], rate)
        first = kept.get("R's first byte", kept["R"])
        line("os.fork (R)", first, kept["R's fork()"], kept.get("R, as rate", []))
    for name, row in sorted(bench.peers.items()):
        size = mid(row["private"]) if "private" in row else 0
        line(name, row["first"], row["blocked"], row["rate"], size)
    head = f"{'':26} {'first byte':>12} {'blocked':>12} {'create, exit seen':>18} {'private':>9}"
    return [head, *out, ""] if out else []
