"""All figures of earlyfork against all peers found here, in alternating rounds, as one table.

    python benchmarks/run.py                        everything but --scale and --count
    python benchmarks/run.py --quick                fewer rounds, fewer peers
    python benchmarks/run.py --only road --rounds 3 what users send, and large templates: a minute
    python benchmarks/run.py --only int,socket      two lines of the road
    python benchmarks/run.py --pure                 without the part in C
    python benchmarks/run.py --scale                also 10 000 live workers (10 GB, 10 500 fds)
    python benchmarks/run.py --count                also system calls and page faults of a creation

Each figure comes from its own process in a bare venv that is made for it and removed again; each
ratio is between neighbours of one round, and the table shows the median of the rounds with the
middle half of them ("calmest": between the best rounds of both sides). Results of a whole run go to
benchmarks/results/latest.json, of a part to part.json, without the part in C to pure.json. The
machine should have nothing else to do: with more to run than CPUs, every hand-over between two
processes waits its turn, and only a bare fork has none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import budgets
import count
from show import mid, peer_table, rows, surroundings, table
from stage import HERE, ProbeError, Stage, base_python

RESULTS = HERE / "results"
BARE = ("-I", "-S")
PACE = 0.001  # between requests, in seconds: so that standbys are there again
STEADY = 0.004  # the same on the road
#: Parent sizes in MB, and the ballast that makes an interpreter as large.
SIZES = {20: 10, 200: 190, 2000: 1990}
LARGER = {"200 MB": 200, "2 GB": 2000}
#: The parts of a run, and how many rounds from one time to the next.
PARTS = {
    "core": 1,
    "rates": 1,
    "road": 2,
    "rhythm": 3,
    "launches": 3,
    "others": 3,
    "sizes": 3,
    "curves": 3,
}
LOADS = [load.carry for load in budgets.ROAD]


class Bench:
    """One run: what was measured, and the ratios of each round."""

    def __init__(self, stage: Stage, *, quick: bool, quiet: bool, only: list[str]) -> None:
        self.stage = stage
        self.quick = quick
        self.quiet = quiet
        self.only = only
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

    def ours(
        self, figure: str, *, script: str = "ours", standby: str | None = None, **wish: object
    ) -> dict[str, Any]:
        """A probe of earlyfork."""
        env = {} if standby is None else {"EARLYFORK_STANDBY": standby}
        if figure == "launch":
            env["EARLYFORK"] = "0"
        found = self.stage.probe(script, figure, env=env, **wish)
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

    def road(self, number: int) -> None:
        """One round of what is sent, and of large templates: R, earlyfork and Perl in turn."""
        for load in budgets.ROAD:
            if not self.only or "road" in self.only or load.carry in self.only:
                try:
                    self.carry(load, number)
                except ProbeError as error:
                    self.missing[load.title] = str(error)
        if not self.only or "road" in self.only or "int" in self.only:
            for size in self.ours("memory", script="road", carry="int", count=8)["private"]:
                self.keep("memory, int", size)

    def carry(self, load: budgets.Load, number: int) -> None:
        """One line of the road; who begins changes from round to round."""
        heavy = load.carry in ("buffer", "objects")
        many = 30 if heavy or self.quick else 60
        wish = {"count": many, "gap": STEADY, "carry": load.carry}
        ask = {
            "R": lambda: self.bare("cycle+rate", count=many, gap=STEADY),
            "earlyfork": lambda: self.ours("first+rate", script="road", **wish),
        }
        if load.aef is not None and "AnyEvent::Fork" not in self.missing:
            warm = 3 if heavy else 20
            ask["AEF"] = lambda: self.stage.probe("aef.pl", "road", warm=warm, **wish)
        order = sorted(ask, reverse=bool(number % 2))
        found = {name: ask[name]() for name in order}
        cycle, rate = mid(found["R"]["cycle"]), found["R"]["rate"][0]
        mine = found["earlyfork"]["rate"][0]
        self.keep(f"{load.carry}: R", cycle)
        self.keep(f"{load.carry}: R, as rate", rate)
        self.keep(f"{load.carry}: first", mid(found["earlyfork"]["first"]), cycle)
        self.keep(f"{load.carry}: rate", mine, rate)
        if load.imports:
            alone = self.bare("imports", count=many, carry=load.carry)["imports"][0]
            self.keep(f"{load.carry}: import, R", alone, rate)
            self.keep(f"{load.carry}: rate, R", mine, alone)
        if "AEF" in found:
            self.keep(f"{load.carry}: AEF first", mid(found["AEF"]["first"]))
            self.keep(f"{load.carry}: AEF rate", found["AEF"]["rate"][0])
            self.keep(f"{load.carry}: rate, AEF", mine, found["AEF"]["rate"][0])

    def rhythm(self) -> None:
        """One round of the rhythms in which a template is asked, R in the same ones."""
        for key, gap, number in (("no pause", 0, 100), ("4 ms", STEADY, 60), ("1 s", 1, 4)):
            base = mid(self.bare("cycle", count=number, gap=gap)["cycle"])
            found = self.ours("first", script="road", carry="nothing", count=number, gap=gap)
            self.keep(key, mid(found["first"]), base)
        base = mid(self.bare("burst", count=3)["burst"])
        found = self.ours("burst", script="road", carry="nothing", count=3)
        self.keep("burst", mid(found["burst"]), base)

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


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, about a minute")
    parser.add_argument("--rounds", type=int, help="of the core figures; of all with --only")
    words = [*PARTS, "scale", *LOADS]
    parser.add_argument("--only", default="", help="parts, by commas: " + ", ".join(words))
    parser.add_argument("--pure", action="store_true", help="without the part in C")
    parser.add_argument("--scale", action="store_true", help="10 000 live workers")
    parser.add_argument("--count", action="store_true", help="system calls and page faults")
    parser.add_argument("--python", default=base_python(), help="the interpreter to measure")
    parser.add_argument("--source", type=Path, help="take earlyfork from this folder, not a wheel")
    parser.add_argument("--output", type=Path, help="where the results go")
    parser.add_argument("--quiet", action="store_true", help="the tables only")
    options = parser.parse_args()
    options.only = [word for word in options.only.split(",") if word]
    for word in options.only:
        if word not in words:
            parser.error(f"--only: there is no part {word!r}; there are {', '.join(words)}")
    if options.output is None:
        name = "part" if options.only else "pure" if options.pure else "latest"
        options.output = RESULTS / f"{name}.json"
    return options


def main() -> None:
    """Measure and show. A benchmark and no test: a missed must is shown and no failure."""
    options = parse()
    stage = Stage(options.python, options.source)
    if options.pure:
        stage.env["EARLYFORK_PURE"] = "1"
    bench = Bench(stage, quick=options.quick, quiet=options.quiet, only=options.only)
    extra: dict[str, Any] = {"pure": options.pure}
    try:
        measure(bench, options, extra)
        facts = surroundings(bench)
    finally:
        stage.close()
    lines = rows(bench)
    print("\n".join(table(lines)), end="\n\n")
    print("\n".join(peer_table(bench)))
    for name, why in bench.missing.items():
        print(f"not measured: {name}: {why}")
    if "count" in extra:
        print("\n".join(count.show(extra["count"])))
    print(
        f"{facts['date']}, {facts['processor']}, {facts['cpus']} CPUs, {facts['system']}, "
        f"CPython {facts['python']}, earlyfork {facts['earlyfork']} ({facts['revision']}"
        f"{', without the part in C' if options.pure else ''}), "
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
        bench.missing["AnyEvent::Fork"] = (
            "Perl or its module is not here (Debian: libanyevent-fork-perl libev-perl)"
        )
    parts = {
        "core": bench.core,
        "rates": bench.rates,
        "rhythm": bench.rhythm,
        "launches": bench.launches,
        "others": bench.others,
        "sizes": bench.sizes,
        "curves": bench.pictured,
    }
    only = set(options.only)
    if only.intersection(LOADS):
        only.add("road")
    rounds = options.rounds or (3 if bench.quick or only else 10)
    for number in range(rounds):
        bench.say(f"round {number + 1} of {rounds}")
        for name, pause in PARTS.items():
            if name not in only if only else number % pause:
                continue
            bench.say(name)
            if name == "road":
                bench.road(number // (1 if only else pause))
            else:
                parts[name]()
    if not only or "scale" in only:
        most = 10_000 if options.scale else 300 if bench.quick else 1000
        bench.say(f"{most} live workers")
        times = 1 if bench.quick else 3 if options.scale else 2
        extra["scale"] = [bench.scale(most) for _ in range(times)]
    if options.count:
        bench.say("counting")
        extra["count"] = count.count(bench.stage)


if __name__ == "__main__":
    main()
