"""A main program that goes through one scenario once for each call that can fail in it.

    driver.py SCENARIO PARTY LIMIT CALL=ERROR ...

Runs with shim.c preloaded. For N = 1, 2, ... the N-th CALL of PARTY (main, template, or child: all
other processes) fails with ERROR, until the scenario no longer makes N of them. After each fault:
the scenario has ended, in time, with the right result or with an error that a caller can expect;
nothing is left; and the scenario runs to its good end. When the first one then fails again and
again, neither the program's memory nor the template's grows. Prints what it found as JSON, one line
for each CALL=ERROR.
"""

from __future__ import annotations

import earlyfork  # isort: skip - the first line, as the package's page says

import contextlib
import errno
import faulthandler
import gc
import json
import mmap
import os
import signal
import struct
import sys
import tracemalloc
import warnings
import zlib
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import work

import support
from earlyfork import rpc

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import IO, Any

CALLS = [
    *("fork", "socketpair", "sendmsg", "send", "recvmsg", "recv", "poll", "read", "write", "dup"),
    *("pidfd_open", "waitid", "waitpid", "epoll_create1", "open", "setsockopt", "pipe2", "execve"),
    *("fchdir", "setsid", "close_range"),
]
SHORT = -1
#: The most that one step of a scenario may take, in seconds: far more than it ever needs.
STEP = 8
#: The second one, from its rehearsal, is kept by a standby that could not take on its own.
STANDBY = ("ef-standby", "earlyfork._child.here")
CONTROL = struct.Struct("9i")
#: How often the same call fails again, to see whether each time leaves something in memory, and how
#: often that is tried: free lists and caches grow for a while, and then no more.
AGAIN = 8
TRIES = 12
WHOSE = ("the program", "the template")
BULK = os.urandom(300_000)


class Wrong(Exception):  # noqa: N818 - it says what is the case
    """The library gave a wrong answer, or none."""


# -- what workers run ----------------------------------------------------------------------------


def answer(sock: socket.socket, file: IO[str], bulk: bytes, text: str) -> None:
    """Use all that came; the checksum on the socket, the text in the file."""
    file.write(text)
    file.close()
    sock.sendall(b"%d" % zlib.crc32(bulk))


def crc(bulk: bytearray) -> int:
    return zlib.crc32(bulk)


def writes(file: IO[str], text: str) -> None:
    with file:
        file.write(text)


def nested(sock: socket.socket) -> None:
    """Make a process in a process, and tell how it ended."""
    inner = earlyfork.new()
    said = heard(inner.run("driver.hello"))
    if inner.wait(STEP) == 0:
        check(said == b"hello", "the inner process said nothing")
    else:
        sys.exit(3)
    sock.sendall(b"inner")


def hello(sock: socket.socket) -> None:
    sock.sendall(b"hello")


def deaf(sock: socket.socket) -> None:
    """SIGTERM does not end it, the end of its stream does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait_for_end(sock)


def wait_for_end(sock: socket.socket) -> None:
    sock.sendall(b"!")
    while sock.recv(100):
        pass


# -- scenarios: each either ends well, or raises ---------------------------------------------------


def check(truth: object, text: str) -> None:
    if not truth:
        raise Wrong(text)


def heard(sock: socket.socket) -> bytes:
    """All bytes to the end of the stream; a reset is an end here, as the worker may be killed."""
    found = b""
    with sock:
        sock.settimeout(STEP)
        try:
            while data := sock.recv(1 << 16):
                found += data
        except TimeoutError:
            raise Wrong("no end of the stream") from None
    return found


def ended(process: earlyfork.Process, wanted: int = 0) -> bool:
    """Whether it ended as wanted; False if it failed by itself and says so."""
    code = process.wait(STEP)
    check(code in (wanted, 1, 3) or code == -signal.SIGKILL, f"status {code}")
    check(process.returncode == code, "two return codes")
    return code == wanted


def scenario_run() -> None:
    """Prepare, with a handle and a large value, and run."""
    readable, writable = os.pipe()
    try:
        with os.fdopen(writable, "w") as file, earlyfork.new() as process:
            process.require("driver").send_fh(file).send_arg(BULK, "text")
            file.close()
            process.ready(STEP)
            process.pid  # noqa: B018 - it asks
            sock = process.run("driver.answer")
            said = heard(sock)
            if ended(process):
                check(said == b"%d" % zlib.crc32(BULK), f"answer {said!r}")
                check(support.read_until_eof(readable, STEP) == b"text", "file")
    finally:
        os.close(readable)


def scenario_clones() -> None:
    """Clones of a prepared process; that one itself runs in one more clone."""
    with earlyfork.new().require("driver").eval("x = args", 1) as template:
        for _ in range(2):
            with template.fork() as clone:
                clone.ready(STEP)
                said = heard(clone.run("driver.hello"))
                check(not ended(clone) or said == b"hello", f"clone said {said!r}")
        said = heard(template.run("driver.hello"))
        check(not ended(template) or said == b"hello", f"keeper said {said!r}")


def scenario_nested() -> None:
    """A process from within a process."""
    with earlyfork.new().require("driver") as process:
        said = heard(process.run("driver.nested"))
        check(not ended(process) or said == b"inner", f"said {said!r}")


def scenario_drop() -> None:
    """Dropped before run, at once, prepared and ready."""
    del_me = earlyfork.new()
    del del_me
    earlyfork.new().eval("x = 1").send_arg(BULK)
    with earlyfork.new() as process:
        process.ready(STEP)
        sentinel = process.sentinel
        process.eval("raise SystemExit(0)")
        check(support.readable_within(sentinel, STEP), "sentinel")
        ended(process)


def scenario_command() -> None:
    """A command by the template; by a process, in C and in Python."""
    readable, writable = os.pipe()
    # The command's own calls do not fail: it does not have the shim.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        everything = {"stdin": DEVNULL, "stdout": writable, "cwd": "/", "start_new_session": True}
        process = earlyfork.new_command(["sh", "-c", "echo 1"], env=env, **everything)
        check(ended(process) and os.read(readable, 10) == b"1\n", "the command said nothing")
        with earlyfork.new() as process:
            process.exec(["sh", "-c", "echo 2"], env=env, **everything).ready(STEP)
            check(ended(process) and os.read(readable, 10) == b"2\n", "the second said nothing")
        with earlyfork.new() as process:
            process.exec(["sh", "-c", "exit 7"], pass_fds=[writable], linked=True, env=env)
            process.ready(STEP)
            ended(process, 7)
    finally:
        os.close(readable)
        os.close(writable)


def scenario_error() -> None:
    """The error of code that was sent comes back."""
    with earlyfork.new().eval("1 / 0") as process:
        try:
            process.ready(STEP)
        except earlyfork.RemoteError as error:
            expected = ("division by zero", "Errno", "MemoryError", "ProtocolError", "reset")
            check(any(word in str(error) for word in expected), str(error))
        else:
            raise Wrong("no error came back")
        check(process.wait(STEP) == 1, "status of an error")


def scenario_kill() -> None:
    """Signals reach a running process, and its status is exact."""
    with earlyfork.new() as process:
        process.require("driver")
        sock = process.run("driver.deaf")
        sock.settimeout(STEP)
        with sock:
            if sock.recv(1) == b"!":
                process.terminate()
                check(process.poll() is None, "SIGTERM was ignored there")
                process.kill()
                code = process.wait(STEP)
                check(code == -signal.SIGKILL, f"status {code}")
            else:
                ended(process)


def scenario_linked() -> None:
    """Linked, and ended by the end of its stream."""
    with earlyfork.new().require("driver") as process:
        sock = process.run("driver.wait_for_end", linked=True)
        with sock:
            sock.settimeout(STEP)
            if sock.recv(1) != b"!":
                ended(process)
                return
        ended(process)


def scenario_handover() -> None:
    """To a socket and back."""
    process = earlyfork.new().send_arg("kept")
    taken = earlyfork.new_from_fh(process.to_fh())
    with taken:
        taken.ready(STEP)
        try:
            said = work.got(taken.run("work.echo"))
        except EOFError:
            said = None
        check(not ended(taken) or said == ("kept",), f"said {said!r}")


def scenario_calls() -> None:
    """Calls of a client: small and large, with a file, as futures, with a timeout, as a stream."""
    client = rpc.Client(earlyfork.new().require("driver"))
    try:
        readable, writable = os.pipe()
        with open(readable, "rb") as far, open(writable, "w") as file:
            check(client.call("driver.crc", bytearray(BULK)) == zlib.crc32(BULK), "crc")
            calls = [client.submit("operator.add", 1, number) for number in range(3)]
            client.call("driver.writes", file, "text")
            file.close()
            found = [call.result(STEP) for call in calls]
            check(found == [1, 2, 3], f"results {found}")
            check(support.read_until_eof(far.fileno(), STEP) == b"text", "file")
        check(client.options(timeout=STEP).call("operator.neg", 1) == -1, "timeout")
        items = list(client.stream("builtins.range", 20))
        check(items == [*range(20)], f"items {items}")
        client.close()
    except BaseException:
        client.kill()
        raise
    finally:
        # A forker that can't tell how its worker ended is lost: not the calls' fault.
        with contextlib.suppress(earlyfork.ProcessLost):
            client.join(STEP)
        client.process.close()


def scenario_exec() -> None:
    """A fresh interpreter."""
    with earlyfork.new_exec(executable=sys.executable).require("driver") as process:
        said = heard(process.run("driver.hello"))
        check(not ended(process) or said == b"hello", f"said {said!r}")


def scenario_snapshot() -> None:
    """A snapshot, and a process from it."""
    from earlyfork.template import snapshot

    with snapshot() as template, template.fork() as process:
        said = heard(process.run(hello))
        check(not ended(process) or said == b"hello", f"said {said!r}")


# -- the rounds ------------------------------------------------------------------------------------


def once(scenario: Callable[[], object]) -> str:
    """Run it: "" for a good end, else the error, if that is one that a caller can expect."""
    try:
        scenario()
    except TimeoutError as error:
        raise Wrong(f"something hangs: {error}") from error
    except (earlyfork.EarlyForkError, OSError, MemoryError) as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def fds() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


def left() -> dict[int, str]:
    """Processes of this session that should not be there now."""
    templates = {entry.pid for entry in earlyfork.status().templates}
    found = support.session(os.getsid(0))
    return {
        pid: name
        for pid, name in found.items()
        if pid != os.getpid() and pid not in templates and name not in STANDBY
    }


def template_pid() -> int:
    """The pid of the default template, which answers."""
    for _ in range(3):
        earlyfork.new().ready(STEP).close()
    return earlyfork.status().templates[0].pid or 0


def use_up_what_was_hit() -> None:
    """If a standby was, or the template just now, whoever asks next is told: here and now."""
    for _ in range(4):
        with earlyfork.new() as process, contextlib.suppress(earlyfork.EarlyForkError):
            process.ready(STEP)


def arm(control: mmap.mmap, party: str, call: str, error: int, nth: int, template: int) -> None:
    me = os.getpid()
    pid, but1, but2 = {
        "main": (me, 0, 0),
        "template": (template, 0, 0),
        "child": (0, me, template),
    }[party]
    control[:36] = CONTROL.pack(0, CALLS.index(call) + 1, error, nth, pid, but1, but2, 0, 0)
    control[:4] = struct.pack("i", 1)


def disarm(control: mmap.mmap) -> bool:
    """Let all calls pass again; whether one failed."""
    control[:4] = struct.pack("i", 0)
    return bool(CONTROL.unpack(control[:36])[8])


def clean(baseline: int) -> str:
    """What is left of the last round, waiting a while for it to go."""
    try:
        support.wait_until(lambda: not left(), STEP)
    except AssertionError:
        return f"processes are left: {[support.describe(pid) for pid in left()]}"
    for turn, _ in enumerate(support.ticks(STEP)):
        if fds() <= baseline:
            return ""
        earlyfork.status()  # lets go of linked processes that have ended without a handle
        if turn == 2:
            gc.collect()
    names = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            names[number] = os.readlink(f"/proc/self/fd/{number}")
    return f"{fds()} fds, {baseline} before: {names}"


def count_blocks(sock: socket.socket) -> None:
    """What a new process has in memory, which is what its template has, and always the same more."""
    gc.collect()
    sock.sendall(b"%d" % sys.getallocatedblocks())


def blocks() -> tuple[int, int]:
    """Memory blocks in use: those that earlyfork's lines took here, and all of the template's."""
    there = []
    for _ in range(5):  # what was forked ahead, or in a hurry, differs a little
        with earlyfork.new() as process:
            there.append(int(heard(process.run("driver.count_blocks"))))
            process.wait(STEP)
    gc.collect()
    # Not all blocks: what the driver opens and reads in /proc alone grows for a hundred rounds.
    ours = tracemalloc.Filter(True, str(Path(earlyfork.__file__).parent / "*"))
    taken = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
    return sum(each.count for each in taken), min(there)


def stays(
    control: mmap.mmap,
    scenario: Callable[[], object],
    party: str,
    call: str,
    error: int,
    baseline: int,
) -> list[str]:
    """Whether the first call, when it fails again and again, leaves something in memory each time."""
    growing = dict.fromkeys(WHOSE, 0)
    tracemalloc.start()
    seen = [blocks()]
    while growing and len(seen) < TRIES:
        failed = 0
        for _ in range(3 * AGAIN):  # some calls are not made each time
            template = earlyfork.status().templates[0].pid or template_pid()
            arm(control, party, call, error, 1, template)
            once(scenario)
            if party != "main":
                clean(baseline)
            failed += disarm(control)
            if party != "main":
                use_up_what_was_hit()
            if failed == AGAIN:
                break
        else:
            return []
        seen.append(blocks())
        for who, now, then in zip(WHOSE, seen[-1], seen[max(0, len(seen) - 3)], strict=True):
            if now - then < AGAIN:
                growing.pop(who, None)
            elif who in growing:
                growing[who] = now - then
    return [
        f"each time the first call fails something stays in {who}: {growth} blocks of memory when "
        f"it had failed {2 * AGAIN} more times"
        for who, growth in growing.items()
    ]


def rounds(
    control: mmap.mmap,
    scenario: Callable[[], object],
    party: str,
    call: str,
    error: int,
    limit: int,
) -> dict[str, Any]:
    """Let the first, second, ... call fail; what came of it."""
    template = template_pid()
    gc.collect()
    baseline = fds()
    problems: list[str] = []
    outcomes: dict[str, int] = {}
    nth = misses = 0
    while nth < limit and len(problems) < 3:
        nth += 1
        faulthandler.dump_traceback_later(9 * STEP, exit=True)
        arm(control, party, call, error, nth, template)
        try:
            outcome = once(scenario)
        except Exception as wrong:
            outcome = f"{type(wrong).__name__}: {wrong}"
            problems.append(f"call {nth}: {outcome}")
        if party != "main":  # what comes behind the scenario belongs to it: exits, new standbys
            clean(baseline)
        if not disarm(control):
            if outcome:
                problems.append(f"without a fault: {outcome}")
            nth -= 1
            misses += 1
            # How much is done behind the scenario differs a little.
            if misses == (2 if limit > 5 else 1):
                break
            continue
        misses = 0
        outcomes[outcome or "good"] = outcomes.get(outcome or "good", 0) + 1
        told = [clean(baseline)]
        try:
            if party != "main" and error > 0:
                use_up_what_was_hit()
            again = once(scenario)
            told.append(again and f"the next time: {again}")
            template = template_pid()
        except Exception as wrong:
            told.append(f"the next time: {type(wrong).__name__}: {wrong}")
        told.append(clean(baseline))
        try:
            os.wait()
        except ChildProcessError:
            pass
        else:
            told.append("a zombie")
        problems += [f"call {nth} ({outcome or 'good'}): {text}" for text in told if text]
    if nth and limit > 5 and not problems:
        faulthandler.dump_traceback_later(20 * STEP, exit=True)
        problems += stays(control, scenario, party, call, error, baseline)
        tracemalloc.stop()
    faulthandler.cancel_dump_traceback_later()
    return {"injected": nth, "outcomes": outcomes, "problems": problems}


def main() -> None:
    name, party, limit, *faults = sys.argv[1:]
    scenario = globals()[f"scenario_{name}"]
    warnings.simplefilter("ignore")
    with open(os.environ["FAULTS"], "r+b") as file:
        control = mmap.mmap(file.fileno(), CONTROL.size)
    faulthandler.enable()
    template_pid()
    problem = once(scenario)
    assert not problem, f"without any fault: {problem}"
    for fault in faults:
        call, _, word = fault.partition("=")
        error = SHORT if word == "SHORT" else getattr(errno, word)
        found = rounds(control, scenario, party, call, error, int(limit))
        print(json.dumps({"fault": f"{party} {fault}", **found}), flush=True)


if __name__ == "__main__":
    main()
