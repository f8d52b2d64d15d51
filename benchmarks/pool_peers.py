"""The peers of a pool, by the same measures: ratios to a bare socketpair with pickle, in one run.

    python benchmarks/pool_peers.py [--rounds N] [PEER ...]

Each peer runs in a program of its own with two workers, and its rounds alternate with those of a
bare pair there. `one by one`: a trivial job is given and its result waited for. `all at once`: many
are given, then all results fetched. `first`: from making the pool to its first result, in a program
that has done nothing else. The best of the rounds.
A peer that is not installed is named (`pip install 'earlyfork[bench]'`).
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as a main program has it

import argparse
import json
import operator
import os
import time
from typing import TYPE_CHECKING, Any

from deaths import PEERS, run_alone
from rpc import Bare

if TYPE_CHECKING:
    from collections.abc import Callable

assert earlyfork
COUNT = 500
PATIENCE = 60.0


def one_by_one(submit: Callable[..., Any]) -> None:
    for number in range(COUNT):
        submit(operator.add, number, 1).result(timeout=PATIENCE)


def all_at_once(submit: Callable[..., Any]) -> None:
    for job in [submit(operator.add, number, 1) for number in range(COUNT)]:
        job.result(timeout=PATIENCE)


def per_call(function: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    function()
    return (time.perf_counter() - begin) / count


def one(name: str, rounds: int) -> None:
    """Measure one peer in this process."""
    begin = time.perf_counter()
    try:
        submit = PEERS[name]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    submit(operator.add, 1, 1).result(timeout=PATIENCE)
    best = {"first": time.perf_counter() - begin}
    bare = Bare()

    def keep(what: str, seconds: float) -> None:
        best[what] = min(best.get(what, seconds), seconds)

    for _ in range(rounds):
        keep("bare", per_call(bare.trivial, 2000))
        keep("one by one", per_call(lambda: one_by_one(submit), COUNT))
        keep("all at once", per_call(lambda: all_at_once(submit), COUNT))
    print(json.dumps(best), flush=True)
    os._exit(0)  # what does not end by itself is left to its own devices


def row(name: str, found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"| {name} | not installed here: {found['missing']} | | |"
    by_one, at_once = (found[what] / found["bare"] for what in ("one by one", "all at once"))
    return f"| {name} | {by_one:.1f} | {at_once:.1f} | {found['first'] * 1000:.0f} ms |"


def main() -> None:
    """Measure all peers, and print the table."""
    parser = argparse.ArgumentParser(description="Measure a pool's peers.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--one", help="measure one in this process")
    parser.add_argument("peers", nargs="*")
    options = parser.parse_args()
    if options.one:
        one(options.one, options.rounds)
        return
    print("| pool | one by one | all at once | first |\n|---|---|---|---|")
    for name in options.peers or PEERS:
        words = [__file__, "--rounds", str(options.rounds), "--one", name]
        print(row(name, run_alone(words, 10 * PATIENCE)), flush=True)


if __name__ == "__main__":
    main()
