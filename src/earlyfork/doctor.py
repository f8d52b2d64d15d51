"""`python -m earlyfork doctor`: whether processes can be made here, from what, what is in the way.

In a frozen app, or any other running program: `from earlyfork import doctor` and
`print(doctor.report())`.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import earlyfork
from earlyfork._ground import frozen, platform
from earlyfork._ground.errors import EarlyForkError, LaunchError
from earlyfork._ground.fds import listens, open_fds, target
from earlyfork._origin import default, interpreter
from earlyfork._origin import status as seen_now
from earlyfork._origin.health import own_fds
from earlyfork._owner import inside

if TYPE_CHECKING:
    import socket

    from earlyfork._owner.process import Process

__all__ = ["BROKEN", "DEGRADED", "HEALTHY", "Launch", "Report", "report"]

HEALTHY, DEGRADED, BROKEN = range(3)
WORDS = ("healthy", "degraded", "broken")
#: A launch that takes longer than this works, but something is wrong with the machine.
SLOW = 2.0

#: What the launched process says of itself. Runs there, where earlyfork need not be installed.
PROBE = """\
import json, os, sys
def tell(sock):
    facts = {"version": list(sys.version_info[:3]), "prefix": sys.prefix,
             "executable": sys.executable, "pid": os.getpid(), "path": sys.path}
    sock.sendall(json.dumps(facts).encode())
"""


class Launch(NamedTuple):
    """What came of an attempt to launch what would be launched.

    Attributes:
        works: whether a process in it answered in time.
        seconds: until that process answered, or until it was given up.
        problem: what is wrong with the launch, or with what answered; empty if nothing is.
    """

    works: bool
    seconds: float
    problem: str


class Report(NamedTuple):
    """What `report` found.

    Attributes:
        health: 0 healthy, 1 degraded (works, but slower or at a risk), 2 broken.
        problems: why it is not healthy.
        early: whether an early template serves.
        reason: why there is one, or why not.
        program: what this program is, as far as it matters here.
        chosen: what would be launched; empty if nothing can be.
        others: what else was found, each with where and why it would not be launched.
        launch: whether a launch works.
        threads: the threads beside the first; a fork does not copy them, but copies their locks.
        fds: open files that a fork would share, or a command inherit.
        inherited: what snapshots inherited that may hurt.
        part_in_c: "yes" if the part in C is used, or "no" and the reason.
    """

    health: int
    problems: tuple[str, ...]
    early: bool
    reason: str
    program: dict[str, object]
    chosen: str
    others: tuple[tuple[str, str, str], ...]
    launch: Launch
    threads: tuple[str, ...]
    fds: tuple[str, ...]
    inherited: tuple[str, ...]
    part_in_c: str

    def as_json(self) -> str:
        """For machines: one object; `health` is a number, and the rest as in this class."""
        found = self._asdict()
        found["launch"] = self.launch._asdict()
        found["others"] = [dict(zip(("path", "found", "why_not"), o)) for o in self.others]  # noqa: B905
        return json.dumps(found, indent=2)

    def __str__(self) -> str:
        took = f"{self.launch.seconds * 1000:.0f} ms"
        launch = f"works, {took}" if self.launch.works else f"FAILS after {took}"
        lines = [f"earlyfork is {WORDS[self.health]} here"]
        lines += [f"  ! {problem}" for problem in self.problems]
        lines += [
            "",
            f"early template: {'yes' if self.early else 'no'} ({self.reason})",
            f"would launch:   {self.chosen or 'nothing'}",
            f"a launch:       {launch}",
            f"part in C:      {self.part_in_c}",
        ]
        others = [f"{path or '(empty)'}: {found}: {why}" for path, found, why in self.others]
        lines += _section("not launched", others)
        lines += _section("this program", [f"{k}: {v}" for k, v in self.program.items()])
        lines += _section("threads beside the first", self.threads)
        lines += _section("open files a fork would share", self.fds)
        lines += _section("inherited by snapshots", self.inherited)
        return "\n".join(lines)


def _section(title: str, entries: list[str] | tuple[str, ...]) -> list[str]:
    return [f"{title}:{'' if entries else ' none'}", *(f"  {entry}" for entry in entries)]


def report(*, timeout: float = 10.0) -> Report:
    """Look at this program, and launch one process to see whether that works.

    Args:
        timeout: how many seconds that process has to answer.

    Returns:
        What was found; as text it is a page for people.
    """
    seen = earlyfork.status()
    fds, threads = tuple(_shared_fds()), tuple(platform.thread_names())
    problems: list[str] = []
    health = HEALTHY
    try:
        choice: interpreter.Choice | None = default.choose()
    except LaunchError as error:
        choice = None
        launch = Launch(works=False, seconds=0.0, problem=str(error))
    else:
        launch = _try(timeout)
    if launch.problem:
        problems.append(launch.problem)
        health = DEGRADED
    if not launch.works:
        if seen.early:
            problems.append("processes come from the early template, which can't be replaced")
        health = DEGRADED if seen.early else BROKEN
    if not seen.early and _should_be_early(seen.reason):
        problems.append(f"no early template: {seen.reason}")
        health = max(health, DEGRADED)
    if seen_now.c_is_missing():
        problems.append(f"no part in C, so less than half the rate{seen.part_in_c[2:]}")
        health = max(health, DEGRADED)
    if seen.inherited:
        problems.append("snapshots inherited what may hurt; it is listed below")
        health = max(health, DEGRADED)
    return Report(
        health,
        tuple(problems),
        seen.early,
        seen.reason,
        _program(),
        str(choice or ""),
        tuple(interpreter.passed_over(choice)),
        launch,
        threads,
        fds,
        seen.inherited,
        seen.part_in_c,
    )


def _should_be_early(reason: str) -> bool:
    """Whether the main program wanted an early template and has none."""
    return not reason.startswith(("it was imported by", "EARLYFORK=0", "this process "))


def _program() -> dict[str, object]:
    virtual = sys.prefix if sys.prefix != sys.base_prefix else ""
    return {
        "python": ".".join(map(str, sys.version_info[:3])) + f" on {os.uname().sysname}",
        "frozen": frozen.kind() or "no",
        "venv": virtual or "no",
        "sys.executable": sys.executable,
        "sys.orig_argv": list(getattr(sys, "orig_argv", [])),
        "main file": getattr(sys.modules["__main__"], "__file__", None) or "none",
    }


def _try(timeout: float) -> Launch:
    """Launch what would be launched, and have a process in it say what it is."""
    begun = time.monotonic()

    def result(problem: str, *, works: bool = False) -> Launch:
        return Launch(works, round(time.monotonic() - begun, 4), problem)

    try:
        root = default.launch_root()
        process = root.fork()
        with process.eval(PROBE).run("tell") as sock:
            facts = _answer(sock, begun + timeout)
        if facts is None:
            _end(root)
            return result(f"what was launched did not answer within {timeout:g} s")
        if not facts:
            process.wait(1)
            why = process.error or "it ended without a word"
            return result(f"what was launched does not work: {why}")
    except (EarlyForkError, OSError) as error:
        return result(f"a launch fails: {error}")
    said = json.loads(facts)
    if said["version"] != list(sys.version_info[:3]):
        theirs, ours = (".".join(map(str, v)) for v in (said["version"], sys.version_info[:3]))
        return result(f"what is launched is Python {theirs}, this is {ours}", works=True)
    if said["prefix"] != sys.prefix and not frozen.is_frozen():
        text = f"what is launched lives in {said['prefix']}, this in {sys.prefix}"
        return result(text, works=True)
    done = result("", works=True)
    if done.seconds > SLOW:
        done = done._replace(problem=f"a launch takes {done.seconds:.1f} s: is the machine busy?")
    return done


def _end(root: Process) -> None:
    """Kill what was launched and says nothing. While it is our child, nobody else has its pid."""
    starter = inside.watch_of(root).starter
    if starter > 0:
        os.kill(starter, signal.SIGKILL)
    root.close()


def _answer(sock: socket.socket, deadline: float) -> bytes | None:
    """All bytes until the other side has ended; None if it did not end in time."""
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        sock.settimeout(left)
        try:
            chunk = sock.recv(65536)
        except TimeoutError:
            return None
        except ConnectionResetError:
            return b""
        if not chunk:
            return data
        data += chunk


def _shared_fds() -> list[str]:
    """Open files beyond the standard streams and earlyfork's own, as people would name them."""
    own = own_fds()
    found = []
    for fd in open_fds():
        if fd in own:
            continue
        try:
            mode = os.fstat(fd).st_mode
            inherits = ", inherited by every command" if os.get_inheritable(fd) else ""
        except OSError:  # pragma: no cover - closed meanwhile by another thread
            continue
        found.append(f"fd {fd}: {_describe(fd, mode)}{inherits}")
    return found


def _describe(fd: int, mode: int) -> str:
    if stat.S_ISSOCK(mode):
        import socket

        with socket.socket(fileno=os.dup(fd)) as sock:
            family = getattr(sock.family, "name", sock.family)
            try:
                if listens(fd):
                    return f"listening {family} socket {sock.getsockname()!r}"
                return f"{family} socket connected to {sock.getpeername()!r}"
            except OSError:
                return f"{family} socket"
    if stat.S_ISFIFO(mode):
        return "pipe"
    return target(fd) or ("file" if stat.S_ISREG(mode) else "device or other")
