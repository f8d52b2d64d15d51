"""All figures of earlyfork against all peers found here, in alternating rounds, as one table.

    python benchmarks/run.py            everything but --scale and --count (some minutes)
    python benchmarks/run.py --quick    fewer rounds, fewer peers (about a minute)
    python benchmarks/run.py --scale    also 10 000 live workers (needs some 10 GB, and 10 500 fds)
    python benchmarks/run.py --count    also system calls and page faults of one creation

Each figure comes from its own process in a bare venv that is made for it and removed again; each
ratio is between neighbours of one round, and the table shows the median of the rounds with the
middle half of them ("calmest": between the best rounds of both sides). Results go to
benchmarks/results/latest.json. The machine should have nothing else to do: with more to run than
CPUs, every hand-over between two processes waits its turn, and only a bare fork has none.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import budgets
import count
from stage import HERE, ROOT, ProbeError, Stage, base_python

RESULTS = HERE / "results" / "latest.json"
BARE = ("-I", "-S")
PACE = 0.001  # between requests, in seconds: so that standbys are there again
#: Parent sizes in MB, and the ballast that makes an interpreter as large.
SIZES = {20: 10, 200: 190, 2000: 1990}
LARGER = {"200 MB": 200, "2 GB": 2000}


class Bench:
    """One run: what was measured, and the ratios of each round."""

    def __init__(self, stage: Stage, *, quick: bool, quiet: bool) -> None:
        self.stage = stage
        self.quick = quick
        self.quiet = quiet
        self.absolute: dict[str, list[float]] = {}
        self.bases: dict[str, list[float]] = {}
        self.ratios: dict[str, list[float]] = {}
        self.modules: dict[str, int] = {}
        self.curves: dict[str, dict[str, dict[str, list[float]]]] = {}
        self.peers: dict[str, dict[str, list[float]]] = {}
        self.missing: dict[str, str] = {}
        self.load = os.getloadavg()[0]
        self.begin = time.monotonic()

    def say(self, text: str) -> None:
        """Tell who waits."""
        if not self.quiet:
            print(f"[{time.monotonic() - self.begin:5.0f} s] {text}", file=sys.stderr, flush=True)

    def ours(self, figure: str, *, standby: str | None = None, **wish: object) -> dict[str, Any]:
        """A probe of earlyfork."""
        env = {} if standby is None else {"EARLYFORK_STANDBY": standby}
        if figure == "launch":
            env["EARLYFORK"] = "0"
        found = self.stage.probe("ours", figure, env=env, **wish)
        self.modules["earlyfork"] = found["modules"]
        return found

    def bare(self, figure: str, **wish: object) -> dict[str, Any]:
        """A probe of R."""
        found = self.stage.probe("bare", figure, flags=BARE, **wish)
        self.modules["R"] = found["modules"]
        return found

    def keep(self, key: str, value: float, base: float | None = None) -> None:
        """One round's value of a figure in seconds (or bytes) and its baseline."""
        self.absolute.setdefault(key, []).append(value)
        if base is not None:
            self.bases.setdefault(key, []).append(base)
            rate = next((b.at_least for b in budgets.BUDGETS if b.key == key), False)
            self.ratios.setdefault(key, []).append(base / value if rate else value / base)

    # -- the parts of a run -------------------------------------------------------------------

    def core(self) -> None:
        """One round of the figures that are ratios to R."""
        few, many = (40, 120) if self.quick else (80, 300)
        found = self.bare("cycle", count=many)
        whole, returns = mid(found["cycle"]), mid(found["blocked"])
        self.keep("R", whole)
        self.keep("R's fork()", returns)
        # Standbys are for whoever asks now and then. What is asked after a pause finds cold caches,
        # R as well: both are asked in the same rhythm. Against R without pauses, too, to be known.
        found = self.bare("cycle", count=few, gap=PACE)
        whole_paced, returns_paced = mid(found["cycle"]), mid(found["blocked"])
        self.keep("R, paced", whole_paced)
        self.keep("R's fork(), paced", returns_paced)
        found = self.ours("first", count=few, gap=PACE)
        self.keep("first", mid(found["first"]), whole_paced)
        self.keep("blocked", mid(found["blocked"]), returns_paced)
        self.keep("first, hot R", mid(found["first"]), whole)
        self.keep("blocked, hot R", mid(found["blocked"]), returns)
        found = self.ours("fork", count=few, gap=PACE)
        self.keep("first fork()", mid(found["first"]), whole_paced)
        found = self.ours("first", count=few, standby="0")
        self.keep("first, none", mid(found["first"]), whole)
        self.keep("blocked, none", mid(found["blocked"]), returns)
        if not self.quick:
            self.keep("first, burst", mid(self.ours("first", count=many)["first"]), whole)
            self.keep("R's first byte", mid(self.bare("first", count=many)["first"]))

    def rates(self) -> None:
        """One round of the figures that are rates."""
        many = 120 if self.quick else 300
        base = self.bare("rate", count=many)["rate"][0]
        self.keep("R, as rate", base)
        self.keep("rate", self.ours("rate", count=many)["rate"][0], base)
        base = (base + self.bare("rate", count=many)["rate"][0]) / 2
        self.keep("flight", self.ours("flight", count=many)["flight"][0], base)
        self.keep("flight, fork", self.bare("flight", count=many)["flight"][0], base)
        if not self.quick:
            found = self.ours("rate", count=many, standby="0")
            self.keep("rate, none", found["rate"][0], base)
        if "AnyEvent::Fork" not in self.missing:
            mine = self.ours("rate", count=many)["rate"][0]
            aef = self.stage.probe("aef.pl", "new", count=many)
            self.keep("AEF new", aef["rate"][0])
            self.keep("rate, AEF", mine, aef["rate"][0])

    def sizes(self) -> None:
        """One round of the same from larger parents: the small one beside each."""
        many = 60 if self.quick else 150
        for key, size in LARGER.items():
            megabytes = SIZES[size]
            large = self.ours("first+rate", count=many, gap=PACE, megabytes=megabytes)
            small = self.ours("first+rate", count=many, gap=PACE)
            self.keep(f"rate, {key}", large["rate"][0], small["rate"][0])
            self.keep(f"first, {key}", mid(large["first"]), mid(small["first"]))
            few = 10 if size == max(SIZES) else 40
            fork = self.bare("cycle+first", count=few, megabytes=megabytes)
            self.keep(f"R, {key}", mid(fork["cycle"]))
            self.keep(f"R's fork(), {key}", mid(fork["blocked"]))
            self.point("os.fork", size, fork | {"rate": fork["cycle"]})
            self.point("earlyfork", size, large)

    def launches(self) -> None:
        """What has an interpreter's start in it."""
        found = self.ours("launch", count=6 if self.quick else 12)
        self.keep("launch", mid(found["first"]), mid(found["pass"]))
        self.keep("python3 -c pass", mid(found["pass"]))
        for _ in range(5):
            found = self.stage.probe("firstline", "import")
            self.keep("import", found["import"][0])
            if not found["early"]:
                self.missing["import"] = "no early template was forked"
            self.modules["after the first line"] = found["modules"]
            found = self.stage.probe("firstline", "import", env={"EARLYFORK": "0"})
            self.keep("import, no fork", found["import"][0])
        for size in self.ours("memory", count=8)["private"]:
            self.keep("memory", size)

    def others(self) -> None:
        """One round of each peer from a small parent."""
        for name in ("mp fork", "mp forkserver", "mp spawn", "subprocess", "loky", "trio-parallel"):
            number = (
                30 if name == "mp fork" else 8 if name in ("mp forkserver", "subprocess") else 3
            )
            self.peer(name, number)
        if "AnyEvent::Fork" not in self.missing:
            for figure in ("new", "fork"):
                found = self.stage.probe("aef.pl", figure, count=100)
                self.note(f"AEF {figure}", found)
        if not self.quick:
            for method in ("fork", "forkserver", "spawn"):
                found = self.stage.probe("peers", "memory", method=method, count=4)
                self.peers[f"mp {method}"].setdefault("private", []).extend(found["private"])

    def peer(self, name: str, number: int, megabytes: int = 0) -> dict[str, Any] | None:
        """One probe of one peer; a peer that is not here is named once and left out."""
        if name in self.missing:
            return None
        python = None
        if name in ("loky", "trio-parallel"):
            if importlib.util.find_spec(name.replace("-", "_")) is None:
                self.missing[name] = "not installed where this harness runs"
                return None
            python = sys.executable
        method = name.removeprefix("mp ")
        try:
            found = self.stage.probe(
                "peers", "samples", python=python, method=method, count=number, megabytes=megabytes
            )
        except ProbeError as error:
            self.missing[name] = str(error)
            return None
        self.modules[name] = found["modules"]
        if not megabytes:
            self.note(name, found)
        return found

    def note(self, name: str, found: dict[str, Any]) -> None:
        """Keep a peer's round."""
        row = self.peers.setdefault(name, {})
        for key in ("first", "blocked", "rate"):
            row.setdefault(key, []).append(mid(found[key]))

    def pictured(self) -> None:
        """One round of the curves: first byte and rate by the size of the parent."""
        small = 20
        found = self.bare("cycle+first", count=60, megabytes=SIZES[small])
        self.point("os.fork", small, found | {"rate": found["cycle"]})
        found = self.ours("first+rate", count=60, gap=PACE, megabytes=SIZES[small])
        self.point("earlyfork", small, found)
        for size, megabytes in SIZES.items():
            for name in ("mp fork", "mp forkserver", "mp spawn", "subprocess"):
                if self.quick and (size == max(SIZES) or name in ("mp spawn", "subprocess")):
                    continue
                number = 10 if name == "mp fork" and size < max(SIZES) else 3
                found = self.peer(name, number, megabytes)
                if found:
                    self.point(name, size, found)
            if "AnyEvent::Fork" not in self.missing:
                found = self.stage.probe("aef.pl", "new", count=50, megabytes=megabytes)
                self.point("AnyEvent::Fork (Perl)", size, found)

    def point(self, name: str, size: int, found: dict[str, Any]) -> None:
        """One probe's points on the curves."""
        for key in ("first", "rate"):
            if key in found:
                row = self.curves.setdefault(name, {}).setdefault(key, {})
                row.setdefault(str(size), []).append(mid(found[key]))

    def scale(self, most: int) -> dict[str, Any]:
        """Cost per creation at many live workers against 10."""
        found = self.stage.probe("scale", "live", limit=400, count=most)
        steps = {key: mid(value) for key, value in found.items() if key.startswith("at ")}
        last = list(steps)[-1]
        if found["problem"]:
            self.missing["more live workers"] = found["problem"]
        few, many = steps["at 10"], steps[last]
        self.say(f"{last}: {many * 1e6:.0f} us each; at 10: {few * 1e6:.0f} us")
        self.keep("scale", many, few)
        base = self.bare("live", count=int(last.removeprefix("at ")))  # os.fork() itself
        self.keep("scale, R", mid(base[last]), mid(base["at 10"]))
        extra = {key: found[key] for key in ("ending", "most private", "problem", "limit")}
        return {**steps, **extra}


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


# -- what is shown -------------------------------------------------------------------------------


def rows(bench: Bench) -> list[dict[str, Any]]:
    """The lines of the table."""
    result = []
    for budget in budgets.BUDGETS:
        values = bench.absolute.get(budget.key)
        row: dict[str, Any] = {"key": budget.key, "figure": budget.title, "must": budget.must}
        row |= {"goal": budget.goal, "measure": budget.measure}
        if not values:
            if budget.must is not None:
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
    head = f"{'figure':50} {'must':>9} {'goal':>7} {'measured':>9}"
    out = [f"{head}  {'middle half':14} {'calmest':>7} {'absolute':>11}"]
    sign = {budget.key: ">=" if budget.at_least else "<=" for budget in budgets.BUDGETS}
    for row in lines:
        unit = "" if row["measure"] == "x" else f" {row['measure']}"
        must = goal = ""
        if row["must"] is not None:
            must, goal = f"{sign[row['key']]} {row['must']:g}{unit}", f"{row['goal']:g}"
        line = f"{row['figure']:50} {must:>9} {goal:>7} "
        if "measured" in row:
            half = f"{row['low']:.2f} .. {row['high']:.2f}"
            absolute = f"{row['absolute']:.{0 if row['absolute'] >= 100 else 2}f} {row['unit']}"
            line += f"{row['measured']:9.2f}  {half:14} {row['calm']:7.2f} {absolute:>11} "
        else:
            line += " " * 45
        out.append(f"{line} {row['verdict']}")
    return out


def peer_table(bench: Bench) -> list[str]:
    """The peers and ourselves, in absolute numbers."""
    out = [f"{'':26} {'first byte':>12} {'blocked':>12} {'create, exit seen':>18} {'private':>9}"]

    def line(
        name: str, first: list[float], blocked: list[float], rate: list[float], size: float = 0
    ) -> str:
        memory = f"{size / 1e6:.2f} MB" if size else ""
        held = f"{mid(blocked) * 1e6:.0f} us" if blocked and mid(blocked) else ""
        return (
            f"{name:26} {mid(first) * 1e6:9.0f} us {held:>12} {1 / mid(rate):16.0f}/s {memory:>9}"
        )

    kept = bench.absolute
    if "first" in kept:
        size = mid(kept["memory"]) if "memory" in kept else 0
        out.append(line("earlyfork", kept["first"], kept["blocked"], kept["rate"], size))
        rate = kept.get("rate, none", kept["rate"])
        out.append(line("earlyfork, no standby", kept["first, none"], kept["blocked, none"], rate))
        first = kept.get("R's first byte", kept["R"])
        out.append(line("os.fork (R)", first, kept["R's fork()"], kept["R, as rate"]))
    for name, row in sorted(bench.peers.items()):
        size = mid(row["private"]) if "private" in row else 0
        out.append(line(name, row["first"], row["blocked"], row["rate"], size))
    return out


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--rounds", type=int, help="of the core figures")
    parser.add_argument("--scale", action="store_true", help="10 000 live workers")
    parser.add_argument("--count", action="store_true", help="system calls and page faults")
    parser.add_argument("--python", default=base_python(), help="the interpreter to measure")
    parser.add_argument("--source", type=Path, help="take earlyfork from this folder, not a wheel")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="the tables only")
    return parser.parse_args()


def main() -> None:
    """Measure and show. A benchmark and no test: a missed must is shown and no failure."""
    options = parse()
    stage = Stage(options.python, options.source)
    bench = Bench(stage, quick=options.quick, quiet=options.quiet)
    extra: dict[str, Any] = {}
    try:
        measure(bench, options, extra)
        facts = surroundings(bench)
    finally:
        stage.close()
    lines = rows(bench)
    print("\n".join(table(lines)), end="\n\n")
    print("\n".join(peer_table(bench)), end="\n\n")
    for name, why in bench.missing.items():
        print(f"not measured: {name}: {why}")
    if "count" in extra:
        print("\n".join(count.show(extra["count"])))
    print(
        f"{facts['date']}, {facts['processor']}, {facts['cpus']} CPUs, {facts['system']}, "
        f"CPython {facts['python']}, earlyfork {facts['earlyfork']} ({facts['revision']}), "
        f"modules loaded: {facts['modules']}, load {facts['load'][0]} .. {facts['load'][1]}"
    )
    if facts["load"][0] > facts["cpus"] / 2:
        print("The machine was busy before this began: these figures say little.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        **facts,
        "missing": bench.missing,
        "figures": lines,
        "seconds": {key: {"median": mid(v), "rounds": v} for key, v in bench.absolute.items()},
        "peers": bench.peers,
        "curves": bench.curves,
        **extra,
    }
    options.output.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


def measure(bench: Bench, options: argparse.Namespace, extra: dict[str, Any]) -> None:
    """All parts, as many rounds as wished."""
    try:
        extra["AnyEvent::Fork"] = bench.stage.probe("aef.pl", "new", count=1)["version"]
    except ProbeError:
        bench.missing["AnyEvent::Fork"] = "Perl or its module is not here"
    rounds = options.rounds or (3 if bench.quick else 10)
    for number in range(rounds):
        bench.say(f"round {number + 1} of {rounds}")
        bench.core()
        bench.rates()
        if number % 3 == 1:
            bench.say("peers")
            bench.others()
        if number % 3 == 0:
            bench.launches()
    for number in range(1 if bench.quick else 4):
        bench.say(f"large parents {number + 1}")
        bench.sizes()
    for number in range(1 if bench.quick else 3):
        bench.say(f"curves {number + 1}")
        bench.pictured()
    most = 10_000 if options.scale else 300 if bench.quick else 1000
    bench.say(f"{most} live workers")
    rounds = 1 if bench.quick else 3 if options.scale else 2
    extra["scale"] = [bench.scale(most) for _ in range(rounds)]
    if options.count:
        bench.say("counting")
        extra["count"] = count.count(bench.stage)


if __name__ == "__main__":
    main()
