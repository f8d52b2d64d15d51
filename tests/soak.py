"""Mixed load with random kills, for as long as it is told; at the end every counter balances.

    python tests/soak.py [MINUTES]          SOAK_SECONDS=30 is stronger

Threads create, prepare, clone, nest, hand over, link, drop and kill processes; another one kills
workers, standbys and templates at random. Each process that was made is accounted for: ended as it
should, killed, lost with its template, or never made. Then no process, fd or thread may be left,
and neither the program nor its template may have grown. Exit status 0, or 1 and what is wrong,
with the last of what was said on stderr meanwhile. SOAK_SEED makes the same choices again, as far as
chance was the program's own.
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as a main program has it

import collections
import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import work

import support
from earlyfork import rpc

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

THREADS = 6
PATIENCE = 60
#: How much a process may grow from its warm state, in KiB: caches, not one thing per cycle.
GROWTH = 6_000

counts: collections.Counter[str] = collections.Counter()
counting = threading.Lock()
wrong: list[str] = []
stop = threading.Event()
#: What may be killed: pids of workers that are in the books.
victims: set[int] = set()


class Failed(Exception):  # noqa: N818 - it says what is the case
    """Something is wrong, and nothing is to be learned from going on."""


def count(name: str) -> None:
    with counting:
        counts[name] += 1


def made(process: earlyfork.Process) -> earlyfork.Process:
    count("made")
    return process


def answer(sock: socket.socket) -> object:
    """What the worker gave, or None if it was killed before it could."""
    sock.settimeout(PATIENCE)
    try:
        return work.got(sock)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        return None
    except Exception as error:  # a pickle that is cut off
        if type(error).__name__ == "UnpicklingError":
            return None
        raise


def settle(process: earlyfork.Process, *wanted: int) -> bool:
    """Account for a process: whether it ended as wanted."""
    try:
        code = process.wait(PATIENCE)
    except TimeoutError:
        raise
    except earlyfork.ProcessLost:
        count("lost")
    except (earlyfork.TemplateDied, OSError):
        count("never made")
    else:
        if code in (wanted or (0,)):
            count("ended")
            return True
        count("killed" if code < 0 else "failed")
    return False


def run(process: earlyfork.Process, n: int) -> None:
    found = answer(process.send_arg(n).run(work.echo))
    if settle(process) and found != (n,):
        raise AssertionError(f"{found} instead of {n}")


def creates(n: int) -> None:
    run(made(earlyfork.new()), n)


def clones(n: int) -> None:
    with earlyfork.new().require("work") as template:
        for _ in range(3):
            run(made(template.fork()), n)


def nests(_n: int) -> None:
    process = made(earlyfork.new())
    found = answer(process.send_arg(2).run(work.nested))
    if settle(process) and len(found) != 3:  # type: ignore[arg-type]
        raise AssertionError(found)


def hands_over(n: int) -> None:
    process = earlyfork.new().send_arg(n)
    run_taken = made(earlyfork.new_from_fh(process.to_fh()))
    found = answer(run_taken.run(work.echo))
    if settle(run_taken) and found != (n,):
        raise AssertionError(found)


def drops(n: int) -> None:
    process = earlyfork.new()
    if n % 2:
        process.send_arg(bytes(100_000))
    count("dropped")


def kills(_n: int) -> None:
    process = made(earlyfork.new())
    # Not one that ignores its end of file: with its template killed, nobody could end that any more.
    with process.run(work.hold, linked=True) as sock:
        sock.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            sock.recv(1)
        with contextlib.suppress(earlyfork.EarlyForkError):
            process.kill()
        settle(process, -signal.SIGKILL)


def fails(_n: int) -> None:
    process = made(earlyfork.new().eval("1 / 0", 1))
    try:
        process.ready(PATIENCE)
    except TimeoutError:
        raise
    except (earlyfork.EarlyForkError, OSError):
        settle(process, 1)
    else:
        raise AssertionError("no error came back")


def is_hit(n: int) -> None:
    """A worker that the killer may kill."""
    process = made(earlyfork.new())
    sock = process.run(work.hold)
    try:
        pid = process.pid
        victims.add(pid)
        sock.settimeout(PATIENCE)
        sock.recv(1)
        if n % 3:
            sock.close()
        else:
            process.terminate()
    except (earlyfork.EarlyForkError, OSError):
        pid = 0
    settle(process, 0, -signal.SIGTERM, -signal.SIGKILL)
    victims.discard(pid)
    sock.close()


def calls(n: int) -> None:
    """A client whose worker may be killed at any moment: every call ends in exactly one way."""
    client = rpc.Client(made(earlyfork.new()), concurrency=1 + n % 2)
    told: list[object] = []
    open_calls = []
    pid = 0
    try:
        pid = client.process.pid
        victims.add(pid)
        for place in range(n % 40):
            call = client.submit("operator.mul", b"x" * (place * place * 10), 2)
            call.add_done_callback(told.append)
            open_calls.append(call)
            if place % 7 == 3:
                call.cancel()
        if n % 3 == 0:
            found = list(client.stream("builtins.range", n))
            if found != list(range(n)):
                raise AssertionError(found)
    except (rpc.WorkerDied, earlyfork.EarlyForkError):
        count("clients refused")
    finally:
        ends = [call_ends(call) for call in open_calls]
        client.kill() if n % 2 else client.close()
        with contextlib.suppress(earlyfork.EarlyForkError, OSError):
            client.join(PATIENCE)
        settle(client.process, 0, -signal.SIGTERM, -signal.SIGKILL)
        victims.discard(pid)
    support.wait_until(lambda: len(told) == len(open_calls), PATIENCE)
    if client.pending or len({id(call) for call in told}) != len(told):
        raise AssertionError(f"{client.pending} pending, {len(told)} told of {len(open_calls)}")
    for end in ends:
        count(f"calls {end}")


def call_ends(call: rpc.Call) -> str:
    """How a call ends: in one way, however often one asks."""
    try:
        error = call.exception(PATIENCE)
    except rpc.CallCancelled:
        return "cancelled"
    if error is None:
        return "answered"
    if not isinstance(error, (rpc.WorkerDied, earlyfork.EarlyForkError)):
        raise error
    return "lost"


JOBS: list[Callable[[int], None]] = [
    creates,
    clones,
    nests,
    hands_over,
    drops,
    kills,
    fails,
    is_hit,
    calls,
]


def works(seed: int) -> None:
    chance = random.Random(seed)
    while not stop.is_set():
        job = chance.choice(JOBS)
        try:
            job(chance.randrange(100))
            count("cycles")
        except (earlyfork.TemplateDied, earlyfork.ProcessLost):
            count("refused")  # of a template that was killed: told at the call
        except earlyfork.EarlyForkError as error:
            count(f"refused by {type(error).__name__}")
        except BaseException:
            wrong.append(f"{job.__name__}:\n{traceback.format_exc()}")
            stop.set()


def murders(seed: int) -> None:
    """Kill somebody now and then."""
    chance = random.Random(seed)
    while not stop.wait(chance.uniform(0.02, 0.3)):
        what = chance.choice(["worker", "worker", "worker", "standby", "template"])
        names = support.session(os.getsid(0))
        pids = {
            "worker": list(victims),
            "standby": [pid for pid, name in names.items() if name == "ef-standby"],
            "template": [pid for pid, name in names.items() if name == "ef-template"],
        }[what]
        if pids:
            try:
                os.kill(chance.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                continue
            count(f"{what}s killed")


def left() -> dict[int, str]:
    found = support.left_in_session([entry.pid for entry in earlyfork.status().templates])
    return {pid: name for pid, name in found.items() if name != "timeout"}


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory(pid: int) -> int:
    """Private memory in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


def period(seconds: float, *, kills: bool) -> None:
    stop.clear()
    jobs = [works] * THREADS + [murders] * kills
    # One that hangs is told below; the program's end must not wait for it.
    threads = [
        threading.Thread(target=job, args=(random.getrandbits(32),), daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    deadline = time.monotonic() + 2 * PATIENCE
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            frame = sys._current_frames().get(thread.ident or 0)
            wrong.append("a thread hangs:\n" + "".join(traceback.format_stack(frame)))
    if wrong:
        raise Failed
    gc.collect()


def template() -> int:
    for _ in range(3):
        earlyfork.new().ready(PATIENCE).close()
    support.wait_until(lambda: not left(), PATIENCE)
    return earlyfork.status().templates[0].pid or 0


def soak(seconds: float) -> None:
    """Without kills first, to see whether anything grows; then with them."""
    period(min(seconds / 6, 10), kills=False)
    root = template()
    first = memory(os.getpid()), memory(root), fds()
    period(seconds / 3, kills=False)
    if template() != root:
        wrong.append("the template died though nobody killed it")
    grown = [memory(os.getpid()) - first[0], memory(root) - first[1]]
    print(f"grown by {grown[0]} KiB, the template by {grown[1]} KiB")
    for name, growth in zip(("the program", "the template"), grown, strict=True):
        if growth > GROWTH:
            wrong.append(f"{name} has grown by {growth} KiB")
    period(seconds / 2, kills=True)
    try:
        template()
    except AssertionError:
        wrong.append(f"processes are left: {[support.describe(pid) for pid in left()]}")
    if fds() > first[2]:
        names = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]]
        wrong.append(f"{fds()} fds, {first[2]} before: {names}")
    booked = sum(counts[name] for name in ("ended", "killed", "failed", "lost", "never made"))
    if booked > counts["made"] or counts["made"] - booked > sum(
        number for name, number in counts.items() if name.startswith("refused")
    ):
        wrong.append(f"{counts['made']} made, {booked} accounted for")
    if earlyfork.status().processes:
        wrong.append(str(earlyfork.status()))
    with contextlib.suppress(ChildProcessError):
        wrong.append(f"a child: {os.wait()}")


def main() -> int:
    seconds = float(os.environ.get("SOAK_SECONDS") or 60 * float((sys.argv[1:] or ["2"])[0]))
    if os.getpid() != os.getsid(0):
        pid = os.fork()  # a session of its own, so that what is left can be told from others
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.setsid()
        os.execv(sys.executable, [sys.executable, *sys.argv])
    # Should anything wait without a deadline: all stacks are printed, and it is a failure.
    faulthandler.dump_traceback_later(seconds + 6 * PATIENCE, exit=True, file=os.dup(2))
    warnings.simplefilter("ignore", earlyfork.EarlyForkWarning)
    log = tempfile.TemporaryFile()
    os.dup2(log.fileno(), 2)  # what fails on purpose, or is killed, says a lot
    seed = int(os.environ.get("SOAK_SEED") or random.getrandbits(32))
    random.seed(seed)
    print(f"soak: {seconds:.0f} s, SOAK_SEED={seed}", flush=True)
    try:
        soak(seconds)
    except Failed:
        print("stopped early")
    except BaseException:
        wrong.append(traceback.format_exc())
    print(", ".join(f"{name}: {number}" for name, number in sorted(counts.items())))
    print("\n".join(wrong) or "balanced", flush=True)
    if wrong:
        size = os.fstat(log.fileno()).st_size
        said = os.pread(log.fileno(), 8000, max(0, size - 8000))
        os.write(1, b"--- the last of stderr\n" + said)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
