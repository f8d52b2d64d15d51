"""Whatever a test starts, opens or changes must be gone when it ends: the fixture that says so.

The pytest process is made a subreaper, so a process whose parent died during a test comes home
here instead of vanishing to pid 1, and can be named. Must work when earlyfork is broken: the
tests that need none of it, and those that say what is broken, still have to run.
"""

from __future__ import annotations

import _posixsubprocess
import collections
import contextlib
import ctypes
import functools
import gc
import importlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import hypothesis
import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

LINUX = sys.platform == "linux"
#: What a test left behind gets this many seconds to go away by itself before it counts as leaked.
GRACE = float(os.environ.get("LEAK_GRACE", "3"))
PR_SET_CHILD_SUBREAPER = 36
#: pytest-timeout's own: it takes its handler away as soon as a test has failed.
TIMEOUT_SIGNAL = signal.SIGALRM

#: While coverage is measured (`make coverage`): tests whose subject the measuring changes, by the
#: beginning of their ids, with the reason. They run all the same, but what they say does not count.
DISTURBED = {
    "tests/early/test_first_line.py::test_it_loads_next_to_nothing": "coverage's modules are loaded, too",
    "tests/faults/test_bytes.py": "ending processes still write their data",
    "tests/lifelines/test_limits.py::test_too_many_processes": "ending processes still write their data",
    "tests/mp/test_settings.py::test_a_template_of_the_user": "the module it must not find is coverage's too",
    "tests/mp/test_settings.py::test_preload": "the module it must not find is coverage's too",
    "tests/test_no_leaks.py": "interpreters that load coverage begin, and end, too late for it",
    "tests/test_scale.py": "measures time",
    "tests/test_threads.py::test_the_host_forks": "has a time limit of its own",
    "tests/test_who_may_talk.py::test_what_one_child": "scans memory, of processes that still write",
}

PHASES: pytest.StashKey[dict[str, bool]] = pytest.StashKey()
#: Pids that this very process forked. A zombie among them was not waited for; any other zombie
#: child is an orphan that came home, for whom nobody else can wait.
forked_here: set[int] = set()


# A machine that stalls is no counter-example; a leak is looked for after the last one.
hypothesis.settings.register_profile("suite", deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=10_000)
hypothesis.settings.load_profile("suite")


def _recording(spawn: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(spawn)
    def recorded(*args: Any, **kwargs: Any) -> int:
        pid = spawn(*args, **kwargs)
        if pid:
            forked_here.add(pid)
        else:
            forked_here.clear()  # this is the child
        return pid

    return recorded


def pytest_configure() -> None:
    """Have orphans come home, and learn which children are our own."""
    # A shell without job control has its background jobs ignore it, and so would all programs here.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not LINUX:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    os.fork = _recording(os.fork)
    os.posix_spawn = _recording(os.posix_spawn)
    _posixsubprocess.fork_exec = _recording(_posixsubprocess.fork_exec)
    if hasattr(subprocess, "_fork_exec"):  # 3.11 and later keep a reference of their own
        subprocess._fork_exec = _posixsubprocess.fork_exec


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, by name, what this machine cannot run; expect what measuring does to some tests."""
    for item in items if support.MEASURED else ():
        for begin, reason in DISTURBED.items():
            if item.nodeid.removeprefix("tests/").startswith(begin.removeprefix("tests/")):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))
    missing = {
        "frozen": "" if importlib.util.find_spec("PyInstaller") else "PyInstaller is not installed",
        "root": "" if os.geteuid() == 0 else "needs root",
        "long": "" if "EARLYFORK_LONG" in os.environ else "takes minutes: make long",
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how each phase of a test went."""
    report = yield
    item.stash.setdefault(PHASES, {})[report.when] = report.passed
    return report


# --- what there is --------------------------------------------------------------------------


class Inventory(NamedTuple):
    """What the pytest process holds at one moment."""

    fds: dict[int, str]  # number: target
    parents: dict[int, int]  # of all descendants, zombies included
    threads: dict[int, str]  # kernel thread: name
    handlers: dict[int, object]
    masks: dict[str, str]  # hexadecimal, by SigBlk, SigIgn, SigCgt


def take_inventory() -> Inventory:
    return Inventory(
        support.open_fds(),
        dict(support.descendants(os.getpid())) if LINUX else {},
        threads(),
        {n: signal.getsignal(n) for n in signal.valid_signals() if n != TIMEOUT_SIGNAL},
        signal_masks(),
    )


def kind(target: str) -> str:
    """'socket' for 'socket:[4711]': an fd that was replaced by one of its kind is no leak."""
    return target.partition(":[")[0] if target.startswith(("socket:[", "pipe:[")) else target


def threads() -> dict[int, str]:
    names = {t.native_id: t.name for t in threading.enumerate() if t.native_id is not None}
    if not LINUX:
        return names
    found = {}
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            comm = Path(f"/proc/self/task/{task}/comm").read_text(errors="replace").strip()
            found[int(task)] = names.get(int(task), f"{comm} (native)")
    return found


def signal_masks() -> dict[str, str]:
    if not LINUX:
        return {}
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    pairs = (line.split(":\t") for line in lines if line.startswith("Sig"))
    masks = {name: int(mask, 16) for name, mask in pairs if name in {"SigBlk", "SigIgn", "SigCgt"}}
    # glibc catches its own two signals from the first thread on.
    for number in (TIMEOUT_SIGNAL, 32, 33):
        for name in masks:  # whoever started pytest may have ignored them
            masks[name] &= ~(1 << number - 1)
    return {name: f"{mask:016x}" for name, mask in masks.items()}


# --- what may stay --------------------------------------------------------------------------


def settle() -> None:
    """Bring earlyfork's default template to the state of steady use.

    That template, its sockets and its standbys stay for the life of the program, by design. Made
    ready before each inventory, they are in both; a test may have killed them in between.
    A failure here is not ours to report: the tests of `new()` do that better. The answer is waited
    for, since only then is the template's pid known.
    """
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        earlyfork = importlib.import_module("earlyfork")
        for _ in range(2):
            earlyfork.new().ready(timeout=GRACE).close()
        # So does the file by which others see calls, from the first client on that shows them.
        importlib.import_module("earlyfork.rpc._board").board()


def residents() -> set[int]:
    """The pids of templates. One that a test leaked is still told: its owner holds its fds."""
    with contextlib.suppress(Exception):
        templates = importlib.import_module("earlyfork").status().templates
        return {getattr(entry, "pid", entry) for entry in templates}
    return set()


def is_standby(pid: int, templates: set[int]) -> bool:
    """A process forked ahead of need: a template's child that says so in ps."""
    return "standby" in support.comm(pid) and any(
        pid in support.children(template) for template in templates
    )


# --- what was left --------------------------------------------------------------------------


def leaks(before: Inventory) -> Iterator[str]:
    """Say what is here now and was not before."""
    after = take_inventory()
    yield from leaked_fds(before.fds, after.fds)
    yield from (f"process {support.describe(pid)}" for pid in leaked_processes(before, after))
    for task in after.threads.keys() - before.threads.keys():
        yield f"thread {task} {after.threads[task]}"
    for number, handler in after.handlers.items():
        if handler != before.handlers[number]:
            name = signal.Signals(number).name if number in set(signal.Signals) else number
            yield f"handler of {name}: {handler!r}, was {before.handlers[number]!r}"
    for name, mask in after.masks.items():
        if mask != before.masks[name]:
            yield f"signals {name}: {mask}, was {before.masks[name]}"


def leaked_processes(before: Inventory, after: Inventory) -> list[int]:
    """Those that came, and those that outlived a parent that died meanwhile, as standbys might."""
    new = {pid for pid, parent in after.parents.items() if before.parents.get(pid) != parent}
    if not new:
        return []
    templates = residents()
    return [
        pid
        for pid in sorted(new - templates)
        if support.state(pid)
        # A zombie of another process: that is about to reap it, or to die and be told itself.
        and (support.state(pid) != "Z" or after.parents[pid] == os.getpid())
        and not is_standby(pid, templates)
    ]


def leaked_fds(before: dict[int, str], after: dict[int, str]) -> Iterator[str]:
    was = collections.Counter(map(kind, before.values()))
    now = collections.Counter(map(kind, after.values()))
    for fd, target in sorted(after.items()):
        if now[kind(target)] > was[kind(target)] and before.get(fd) != target:
            yield f"fd {fd} -> {target}"
    for fd in (0, 1, 2):
        if before.get(fd) != after.get(fd):
            yield f"fd {fd} -> {after.get(fd, 'closed')}, was {before.get(fd, 'closed')}"


def reap_orphans(before: Inventory) -> None:
    """Wait for the orphans that came home dead: by pid, and none that somebody else may want."""
    mine = {pid for pid, parent in before.parents.items() if parent == os.getpid()}
    for pid in set(support.children(os.getpid())) - mine - forked_here:
        if support.state(pid) == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def end_processes(pids: list[int]) -> None:
    """Kill and reap what a test left, so that the next one starts clean."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        support.gone_within(pid, GRACE)
    for pid in set(pids) & set(support.children(os.getpid())):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@pytest.fixture(scope="session")
def other_pythons() -> dict[tuple[int, int], str]:
    """The newest interpreter of each other version, by version; skips where there is none."""
    import matrix  # here: this file is also run where that is not (test_no_leaks.py)

    found = {
        version: python.executable
        for version, python in matrix.newest_of_each().items()
        if version != sys.version_info[:2]
    }
    if not found:
        pytest.skip("no CPython of another version is here")
    return found


@pytest.fixture(scope="session", autouse=True)
def settled() -> None:
    """What the end of one test does for the next, done for the first."""
    settle()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that leaves an fd, a process, a thread or a signal's setting behind.

    Runs before every other fixture of its test and ends after them. When the test itself failed,
    its traceback may hold objects alive: then this cleans up and only prints.
    """
    before = take_inventory()
    yield
    settle()
    found: list[str] = []
    for turn, _ in enumerate(support.ticks(GRACE)):
        if LINUX:
            reap_orphans(before)
        found = list(leaks(before))
        if not found:
            break
        if turn == 4:  # 15 ms later: no collection for what was only on its way out
            gc.collect()
    if LINUX:
        forked_here.intersection_update(support.children(os.getpid()))
    if not found:
        return
    end_processes(leaked_processes(before, take_inventory()))
    message = "left behind:\n  " + "\n  ".join(found)
    phases = request.node.stash.get(PHASES, {})
    if all(phases.get(phase) for phase in ("setup", "call")):
        pytest.fail(message, pytrace=False)
    print(message)


@pytest.fixture(scope="session")
def pid_namespace() -> list[str]:
    """The command that runs a program as pid 1; skips where that can't be."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here")
    command = [unshare, "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = support.run_command([*command, "true"])
    if done.returncode:
        pytest.skip(f"no pid namespace to be had: {done.stderr.strip()}")
    return command


@pytest.fixture
def run_script(tmp_path: Path) -> support.Run:
    """`support.run_script` whose program lives in this test's own directory."""
    return functools.partial(support.run_script, directory=tmp_path)


@pytest.fixture
def run_program(run_script: support.Run) -> support.Run:
    """Run a program of tests/programs, in this test's own directory.

    It can import `work` and `support`, and must exit with status 0, unless told otherwise.
    """

    def run(name: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        env = support.with_work(**options.pop("env", {}))
        return run_script(support.program(name), *args, **{"check": True, **options, "env": env})

    return run


@pytest.fixture
def start_script(tmp_path: Path) -> Iterator[support.Start]:
    """`support.start_script` in this test's own directory; what still runs at the end is killed."""
    with contextlib.ExitStack() as ending:

        def start(source: str, *args: str, **options: Any) -> subprocess.Popen[str]:
            process = support.start_script(source, *args, directory=tmp_path, **options)
            ending.enter_context(process)  # closes its pipes, waits for it
            ending.callback(process.kill)
            ending.callback(support.kill_session, process.pid)
            return process

        yield start


@pytest.fixture
def start_program(start_script: support.Start) -> support.Start:
    """Start a program of tests/programs, which waits for `support.go_on`, as `run_program` does."""

    def start(name: str, *args: str, **options: Any) -> subprocess.Popen[str]:
        env = support.with_work(**options.pop("env", {}))
        return start_script(
            support.program(name), *args, **{"stdin": subprocess.PIPE, **options, "env": env}
        )

    return start
