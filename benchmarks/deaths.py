"""A job kills its worker: what each pool makes of that. The table in docs/pool.md.

    python benchmarks/deaths.py [--write] [PEER ...]

Each pool runs in a program of its own, with two workers. One runs a job of half a second (the
*bystander*); the other gets a job that kills its own process by SIGKILL, and behind it four short
jobs wait. When the error is told, one more job is given to the same pool. Nobody waits longer than
five seconds. The times are the best of three programs, since this machine may be busy. A peer that
is not installed is named (`pip install 'earlyfork[bench]'`).
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as a main program has it

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deaths_jobs import answers, dies, lasts

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 5.0
ROUNDS = 3
PAGE = Path(__file__).parent.parent / "docs" / "pool.md"
BEGIN, END = "<!-- deaths: by benchmarks/deaths.py --write -->\n", "<!-- /deaths -->\n"
#: Loops that run as long as their program.
KEPT: list[Any] = []
assert earlyfork


# --- the peers: each gives a function that submits, and a result to wait for -------------------


def of_earlyfork() -> Callable[..., Any]:
    from earlyfork.pool import Pool

    return Pool(max_workers=2).submit


def of_stdlib() -> Callable[..., Any]:
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(2).submit


def of_loky() -> Callable[..., Any]:
    from loky import get_reusable_executor

    # As its users do: a broken one is replaced when they ask again.
    return lambda fn, *args: get_reusable_executor(max_workers=2).submit(fn, *args)


class Got:
    """A result with the methods of a future."""

    def __init__(self, get: Callable[..., Any]) -> None:
        self._get = get

    def result(self, timeout: float) -> Any:
        return self._get(timeout)


def of_multiprocessing() -> Callable[..., Any]:
    from multiprocessing import Pool

    pool = Pool(2)
    return lambda fn, *args: Got(pool.apply_async(fn, args).get)


def of_billiard() -> Callable[..., Any]:
    from billiard.pool import Pool

    pool = Pool(2)
    return lambda fn, *args: Got(pool.apply_async(fn, args).get)


def of_pebble() -> Callable[..., Any]:
    from pebble import ProcessPool

    pool = ProcessPool(2)
    return lambda fn, *args: pool.schedule(fn, args=args)


def of_mpire() -> Callable[..., Any]:
    from mpire import WorkerPool

    pool = WorkerPool(2)
    return lambda fn, *args: Got(pool.apply_async(fn, args).get)


def in_a_loop(backend: str, run: Callable[..., Any]) -> Callable[..., Any]:
    from anyio.from_thread import start_blocking_portal

    opened = start_blocking_portal(backend)
    portal = opened.__enter__()
    KEPT.append(opened)
    return lambda fn, *args: portal.start_task_soon(partial(run, fn, *args))


def of_anyio() -> Callable[..., Any]:
    import anyio.to_process

    return in_a_loop("asyncio", anyio.to_process.run_sync)


def of_trio_parallel() -> Callable[..., Any]:
    import trio_parallel

    return in_a_loop("trio", trio_parallel.run_sync)


def of_deadpool() -> Callable[..., Any]:
    from deadpool import Deadpool

    return Deadpool(max_workers=2).submit


PEERS: dict[str, Callable[[], Callable[..., Any]]] = {
    "earlyfork.pool": of_earlyfork,
    "concurrent.futures": of_stdlib,
    "loky": of_loky,
    "multiprocessing.Pool": of_multiprocessing,
    "billiard": of_billiard,
    "pebble": of_pebble,
    "mpire": of_mpire,
    "anyio.to_process": of_anyio,
    "trio-parallel": of_trio_parallel,
    "deadpool": of_deadpool,
}


# --- one peer ----------------------------------------------------------------------------------


def outcome(job: Any, seconds: float) -> str:
    """What a job ends with, in a word."""
    try:
        found = job.result(timeout=seconds)
    except BaseException as error:
        if isinstance(error, TimeoutError) or type(error).__name__ == "TimeoutError":
            return "no answer"
        return type(error).__name__
    return "answered" if found == 7 else repr(found)


def wait_for(path: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not Path(path).exists() and time.monotonic() < give_up:
        time.sleep(0.001)


def one(name: str, folder: str) -> None:
    """Try one peer in this process, and print what came of it."""
    try:
        submit = PEERS[name]()
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    for job in [submit(answers) for _ in range(4)]:
        job.result(timeout=PATIENCE)
    bystander = submit(lasts, f"{folder}/begun")
    wait_for(f"{folder}/begun")
    killer = submit(dies, f"{folder}/died")
    queued = [submit(answers) for _ in range(4)]
    found: dict[str, Any] = {"job": outcome(killer, PATIENCE)}
    given = time.monotonic()
    found["error"] = given - float(Path(f"{folder}/died").read_text())
    try:
        found["next"] = outcome(submit(answers), PATIENCE)
    except Exception as error:
        found["next"] = type(error).__name__
    found["after"] = time.monotonic() - given
    found["bystander"] = outcome(bystander, PATIENCE)
    words = [outcome(job, 1.0) for job in queued]
    found["queued"] = {word: words.count(word) for word in dict.fromkeys(words)}
    print(json.dumps(found), flush=True)
    sys.stdout.flush()
    os._exit(0)  # what can't be shut down any more is left to its own devices


# --- all of them -------------------------------------------------------------------------------


def tried(name: str) -> dict[str, Any]:
    """What came of one peer, tried in a program of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return run_alone([__file__, "--one", name, folder], 10 * PATIENCE)


def run_alone(words: list[str], seconds: float) -> dict[str, Any]:
    """The JSON that a program prints as its last line; what it leaves is killed."""
    with tempfile.TemporaryFile("w+") as out:
        with subprocess.Popen(
            [sys.executable, *words],
            stdout=out,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        ) as program:
            try:
                program.wait(seconds)
            except subprocess.TimeoutExpired:
                program.kill()
            finally:
                end_session(program.pid)
        out.seek(0)
        lines = out.read().splitlines()
    return json.loads(lines[-1]) if lines else {"missing": "it gave no answer at all"}


def best(name: str) -> dict[str, Any]:
    """The first of several tries, with the best times of all that ended like it."""
    found = tried(name)
    if "missing" not in found:
        for _ in range(ROUNDS - 1):
            other = tried(name)
            for time_of, word in (("error", "job"), ("after", "next")):
                if other.get(word) == found[word]:
                    found[time_of] = min(found[time_of], other[time_of])
    return found


def end_session(leader: int) -> None:
    """Kill what a program has left: some pools never end."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def milliseconds(seconds: float, word: str) -> str:
    if word == "no answer":
        return f"not in {PATIENCE:.0f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def row(name: str, found: dict[str, Any]) -> str:
    if "missing" in found:
        return f"| {name} | not installed here: {found['missing']} | | | | |"
    queued = ", ".join(f"{count} {word}" for word, count in found["queued"].items())
    after = milliseconds(found["after"], found["next"])
    if found["next"] not in ("answered", "no answer"):
        after = found["next"]
    return (
        f"| {name} | {found['job']} | {milliseconds(found['error'], found['job'])} | "
        f"{found['bystander']} | {queued} | {after} |"
    )


def main() -> None:
    """Try all peers, and print or write the table."""
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        one(words[1], words[2])
        return
    names = [word for word in words if word != "--write"] or list(PEERS)
    lines = [
        "| pool | the job that dies | told after | bystander | four queued jobs | next job |",
        "|---|---|---|---|---|---|",
        *(row(name, best(name)) for name in names),
    ]
    table = "\n".join(lines) + "\n"
    print(table)
    if "--write" in words:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
