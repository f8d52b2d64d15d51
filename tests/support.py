"""What the tests share: deadlines, scripts as real processes, and questions about pids and fds.

Must not import earlyfork: a test decides when that happens, and in which process. This is the
only file of the suite that lets time pass; everything in it ends by an event or by its deadline.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import pytest

    #: The fixtures `run_script` and `run_program`, `start_script` and `start_program`.
    Run = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., subprocess.Popen[str]]

#: How long anything may take that should take no time at all. Generous: CI machines stall.
PATIENCE = 10.0

#: Variables that a script under test must not inherit by chance.
_DROPPED_PREFIXES = ("EARLYFORK", "PYTHON", "PYTEST_", "_PYI_")
#: Whether `make coverage` runs, and where what has no coverage of its own finds that.
MEASURED = "COVERAGE_PROCESS_CONFIG" in os.environ
_MEASURING = Path(__file__).parent / "measured"


# --- deadlines -------------------------------------------------------------------------------


def ticks(seconds: float, *fds: int) -> Iterator[None]:
    """Yield now, then when an fd is readable or a moment has passed, until the deadline.

    The one place where the tests wait. The last tick comes after the deadline, so a caller that
    looks at each tick has looked at the end as well. The fds count once: one at its EOF stays
    readable and would make this a busy loop.
    """
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    pause_ms = 1
    yield
    while (left := deadline - time.monotonic()) > 0:
        if poller.poll(max(1, min(pause_ms, int(left * 1000)))):
            poller = select.poll()
        pause_ms = min(pause_ms * 2, 20)
        yield
    yield


def wait_until(predicate: Callable[[], object], timeout: float = PATIENCE, *fds: int) -> None:
    """Return as soon as `predicate()` is true; fail with its name when it is not in time."""
    for _ in ticks(timeout, *fds):
        if predicate():
            return
    name = getattr(predicate, "__qualname__", repr(predicate))
    raise AssertionError(f"not true within {timeout} s: {name} ({_where(predicate)})")


def _where(predicate: object) -> str:
    code = getattr(predicate, "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else repr(predicate)


def readable_within(fd: int, seconds: float) -> bool:
    """Whether `fd` has bytes, an EOF or an error to read before the time is up."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def comm_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a process's comm, as an owner makes them."""
    from earlyfork._shared import sockets  # here: a program's first line imports it, and not this

    near, far = sockets.comm_pair()
    return socket.socket(fileno=near), socket.socket(fileno=far)


def read_until_eof(fd: int, seconds: float = PATIENCE) -> bytes:
    """All bytes up to the EOF. Raises TimeoutError when no EOF comes; other errors pass through.

    A connection reset is no EOF: it is raised.
    """
    deadline = time.monotonic() + seconds
    got = bytearray()
    while readable_within(fd, max(0.0, deadline - time.monotonic())):
        chunk = os.read(fd, 65536)
        if not chunk:
            return bytes(got)
        got += chunk
    raise TimeoutError(f"fd {fd}: no EOF within {seconds} s, after {bytes(got)[:200]!r}")


def eof_within(fd: int, seconds: float = PATIENCE) -> bool:
    """Whether `fd` reaches EOF in time; bytes before it are thrown away."""
    try:
        read_until_eof(fd, seconds)
    except TimeoutError:
        return False
    return True


# --- pids and fds ----------------------------------------------------------------------------


def state(pid: int) -> str:
    """The letter that ps shows (R, S, D, T, Z ...), or '' when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat[stat.rindex(b")") + 2 :][:1].decode()


def alive(pid: int) -> bool:
    """Whether the process can still do anything. A zombie is dead."""
    if Path("/proc/self/stat").exists():
        return state(pid) not in {"", "Z", "X"}
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(pid: int, seconds: float = PATIENCE) -> bool:
    """Whether the process is dead (a zombie counts) before the time is up."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):
        return any(not alive(pid) for _ in ticks(seconds))
    try:
        return readable_within(pidfd, seconds) or not alive(pid)
    finally:
        os.close(pidfd)


def children(pid: int) -> list[int]:
    """The direct children of a process, zombies included, in no order."""
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return found
    for task in tasks:
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # that thread ended meanwhile
    return found


def descendants(pid: int) -> Iterator[tuple[int, int]]:
    """Children, their children, and so on, each with its parent. One that moves may be missed."""
    for child in children(pid):
        yield child, pid
        yield from descendants(child)


def session(leader: int) -> dict[int, str]:
    """The living processes of a session, with their short names: what a script left or made."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                stat = Path(f"/proc/{name}/stat").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            words = stat[stat.rindex(b")") + 2 :].split()
            if int(words[3]) == leader and words[0] not in (b"Z", b"X"):
                found[int(name)] = comm(int(name))
    return found


def wait_for_standby() -> None:
    """Return as soon as a process that was forked ahead of need waits in this session."""
    wait_until(lambda: "ef-standby" in session(os.getsid(0)).values())


def left_in_session(templates: Collection[int]) -> dict[int, str]:
    """What lives in this session beside this process, these templates, and their standbys."""
    known = {os.getpid(), *templates}
    found = session(os.getsid(0))
    return {pid: name for pid, name in found.items() if pid not in known and name != "ef-standby"}


def comm(pid: int) -> str:
    """The short name that ps and top show, or '' when there is no such process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def describe(pid: int) -> str:
    """'4711 (S) [python] python app.py', for a message, on one line of bearable length."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid} (gone)"
    line = " ".join(words.decode(errors="replace").split())
    if len(line) > 120:
        line = f"{line[:80]} ... {line[-35:]}"
    return f"{pid} ({state(pid)}) [{comm(pid)}] {line}".rstrip()


def open_fds(pid: int | str = "self") -> dict[int, str]:
    """What a process has open: by number, where that leads."""
    if not Path("/proc/self/fd").exists():
        return dict.fromkeys(map(int, os.listdir("/dev/fd")), "open")
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that listed the directory is closed again
            found[int(path.name)] = str(path.readlink())
    return found


def fill_fds() -> list[int]:
    """Take all fds that are left; return them, to be closed."""
    filled = []
    try:
        while True:
            filled.append(os.dup(0))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    return filled


def assert_all_end_with(
    process: subprocess.Popen[str], pids: Mapping[str, int], seconds: float
) -> None:
    """Kill a main program: these processes, by name, are gone in time, and so is its session."""
    process.kill()
    process.wait()
    for name, pid in pids.items():
        assert gone_within(pid, seconds), (name, describe(pid))
    wait_until(lambda: not session(process.pid))


# --- programs --------------------------------------------------------------------------------

#: Where the processes of a program come from: what to set for an early template, and for none.
ORIGINS: dict[str, dict[str, str]] = {"early": {}, "launched": {"EARLYFORK": "0"}}
_PROGRAMS = Path(__file__).parent / "programs"


def program(name: str) -> str:
    """The text of a program of tests/programs, to be run as one that stands in its test."""
    return (_PROGRAMS / name).read_text(encoding="utf-8")


def programs(folder: str) -> Path:
    """A folder of tests/programs, for programs that share modules."""
    return _PROGRAMS / folder


def home_of_earlyfork() -> Path:
    """The directory that `import earlyfork` finds it in, which does not import it."""
    spec = importlib.util.find_spec("earlyfork")
    assert spec is not None, "earlyfork is neither installed nor on sys.path"
    assert spec.origin is not None
    return Path(spec.origin).parent.parent


def python_path(*more: str | Path) -> str:
    """A PYTHONPATH with `more`, the tests' own modules (work, support), and earlyfork."""
    return os.pathsep.join(map(str, (*more, Path(__file__).parent, home_of_earlyfork())))


def clean_env(**changes: str | None) -> dict[str, str]:
    """The environment of a script under test: ours without what steers Python or earlyfork.

    Where earlyfork is not installed but on our own PYTHONPATH, it is on the script's.
    A change to None takes the variable out.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(_DROPPED_PREFIXES)}
    if (home := home_of_earlyfork()).name != "site-packages":
        env["PYTHONPATH"] = str(home)
    if MEASURED:
        env |= _measured(env.get("PYTHONPATH"))
        if changes.get("PYTHONPATH") is not None:
            changes["PYTHONPATH"] = os.pathsep.join((str(changes["PYTHONPATH"]), str(_MEASURING)))
    for name, value in changes.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


def _measured(path: str | None) -> dict[str, str]:
    """What a script needs to be measured, even one that runs in another venv, or in a C program."""
    coverage = importlib.util.find_spec("coverage")
    assert coverage is not None
    assert coverage.origin is not None
    place = Path(coverage.origin).parent.parent
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (path, str(_MEASURING)))),
        "COVERAGE_HOME": f"{place}:{sys.implementation.cache_tag}",
        "EARLYFORK_PURE": os.environ.get("EARLYFORK_PURE", ""),
    }


def with_work(**changes: str | None) -> dict[str, str | None]:
    """What to change in a program's environment so that it can import `work` and `support`."""
    return {"PYTHONPATH": python_path(), **changes}


def write_script(source: str, directory: Path, name: str = "main_program.py") -> Path:
    """Write a program (indented as its test is) to a file, and say where that is."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source).lstrip("\n"), encoding="utf-8")
    return path


def write_files(directory: Path, **files: str) -> Path:
    """Write modules by their dotted names, `pkg.sub` to pkg/sub.py; return the directory."""
    for name, text in files.items():
        path = directory / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def start_command(
    command: Sequence[str | Path],
    *,
    directory: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    **popen: object,
) -> subprocess.Popen[str]:
    """Start a command in a session of its own; the caller ends and waits for it.

    `env` changes `clean_env()`; stdin is empty, stdout and stderr are pipes, unless told
    otherwise in `popen`. Its working directory is `directory`.
    """
    options: dict[str, object] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": directory,
        "start_new_session": True,
        "env": clean_env(**dict(env or {})),
        **popen,
    }
    return subprocess.Popen([*map(str, command)], **options)  # type: ignore[call-overload, no-any-return]


def run_command(
    command: Sequence[str | Path],
    *,
    timeout: float = 20.0,
    check: bool = False,
    stdin_text: str | None = None,
    **start: object,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and to the end of its stdout and stderr.

    A template that keeps them open shows up as a timeout, whose message holds what was printed so
    far.

    Args:
        command: the program and its arguments.
        timeout: seconds; after that its session is killed and this fails.
        check: fail unless it exits with status 0.
        stdin_text: what it finds on stdin; default nothing.
        **start: as for `start_command`.
    """
    if stdin_text is not None:
        start["stdin"] = subprocess.PIPE
    with start_command(command, **start) as process:  # type: ignore[arg-type]
        try:
            out, err = process.communicate(stdin_text, timeout=timeout)
        except subprocess.TimeoutExpired as late:
            state_then = "still runs" if process.poll() is None else "has ended"
            kill_session(process.pid)
            process.kill()
            raise AssertionError(
                f"no end of output within {timeout} s; the program {state_then}\n"
                f"--- stdout\n{_text(late.stdout)}\n--- stderr\n{_text(late.stderr)}"
            ) from None
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check and done.returncode:
        raise AssertionError(_ending(done))
    return done


def start_script(
    source: str,
    *args: str,
    directory: Path,
    python: str = sys.executable,
    flags: tuple[str, ...] = (),
    name: str = "main_program.py",
    **start: object,
) -> subprocess.Popen[str]:
    """Start a program that is written to `directory` first: see `start_command`."""
    path = write_script(source, directory, name)
    return start_command([python, *flags, path, *args], directory=directory, **start)  # type: ignore[arg-type]


def run_script(
    source: str,
    *args: str,
    directory: Path | None = None,
    python: str = sys.executable,
    flags: tuple[str, ...] = (),
    name: str = "main_program.py",
    **run: object,
) -> subprocess.CompletedProcess[str]:
    """Run a program as a real process whose first line may well be `import earlyfork`.

    Args:
        source: the program; its common indentation is taken off.
        *args: its command line arguments.
        directory: where the file is written and the program runs; default a fresh one.
        python: the interpreter.
        flags: the interpreter's own arguments.
        name: the file's name.
        **run: as for `run_command`.
    """
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="earlyfork-test-") as place:
            options = {"python": python, "flags": flags, "name": name, **run}
            return run_script(source, *args, directory=Path(place), **options)  # type: ignore[arg-type]
    path = write_script(source, directory, name)
    return run_command([python, *flags, path, *args], directory=directory, **run)  # type: ignore[arg-type]


def built_once(name: str, temporary: pytest.TempPathFactory, build: Callable[[Path], None]) -> Path:
    """A directory that is filled by whichever worker of this run comes first."""
    base = temporary.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # common to all workers
    place = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            place.mkdir()
            build(place)
            (place / "done").touch()
    assert (place / "done").exists(), "another worker could not build it"
    return place


def output_of(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed by a program that ended well and said nothing on stderr; else fails."""
    if done.returncode or done.stderr:
        raise AssertionError(_ending(done))
    return done.stdout


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit status {done.returncode}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"


def told(process: subprocess.Popen[str]) -> Any:
    """What a program says in its next line, as JSON."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def go_on(process: subprocess.Popen[str]) -> None:
    """Send a line to a program that waits for one."""
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


def kill_session(pid: int) -> None:
    """SIGKILL the process group that a script leads, as far as it still exists."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
