"""`python -m earlyfork top`: real programs, looked at from outside."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support import Run, Start

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")

HAS_RICH = importlib.util.find_spec("rich") is not None


def top(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return support.run_command([sys.executable, "-m", "earlyfork", "top", *words], **options)


def page_of(pid: int, *more: str) -> Any:
    done = top(str(pid), "--once", "--json", *more)
    return json.loads(support.output_of(done))


def test_each_kind_of_process(start_program: Start) -> None:
    program = start_program("top/calls.py")
    visible, hidden, plain, launched = support.told(program)
    support.wait_until(
        lambda: "ef-standby" in support.session(program.pid).values(), support.PATIENCE
    )
    page = page_of(program.pid)
    (found,) = page["programs"]
    assert found["pid"] == program.pid
    rows = {row["pid"]: row for row in found["rows"]}
    assert found["rows"][0]["kind"] == "program"
    assert {rows[pid]["kind"] for pid in (visible, hidden, plain, launched)} == {"worker"}
    kinds = [row["kind"] for row in found["rows"]]
    assert kinds.count("template") == 2, kinds
    assert "standby" in kinds
    assert rows[visible]["runs"] == "time.sleep"
    assert 0 < rows[visible]["runs_for"] < rows[visible]["seconds"] + 0.1
    assert (rows[visible]["done"], rows[visible]["waiting"]) == (3, 1)
    assert (rows[hidden]["runs"], rows[hidden]["done"]) == ("", None)
    assert rows[plain]["runs"] == "work:echo_strea"  # what the system keeps of a name
    for row in found["rows"]:
        assert row["private"] > 0
        assert row["shared"] > 0
        assert row["pss"] <= row["private"] + row["shared"]
    # Whoever is asked for, it is their program that is shown.
    assert page_of(launched)["programs"][0]["pid"] == program.pid
    assert page_of(rows[visible]["parent"])["programs"][0]["pid"] == program.pid
    text = support.output_of(top("--once", str(program.pid)))
    assert f"{visible}" in text
    assert "time.sleep" in text
    support.go_on(program)
    assert program.wait(support.PATIENCE) == 0


def test_all_programs_of_this_user(start_program: Start) -> None:
    programs = [start_program("top/calls.py") for _ in range(2)]
    for program in programs:
        support.told(program)
    found = json.loads(support.output_of(top("--once", "--json")))["programs"]
    pids = {one["pid"] for one in found}
    assert {program.pid for program in programs} <= pids
    # `top` has a template itself, as any program that is run by `-m earlyfork`.
    assert not any("earlyfork top" in one["command"] for one in found)


def test_what_is_written_for_it(run_program: Run) -> None:
    assert support.output_of(run_program("top/board.py")) == "all well\n"


# -- what can't be seen ----------------------------------------------------------------------------


def test_nothing_to_see() -> None:
    for pid, words in (
        (os.getppid(), "has no template"),
        (2**22 + 1, "there is no process"),
    ):
        done = top("--once", str(pid))
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr


@pytest.mark.parametrize("words", [("--interval", "0"), ("--interval", "x"), ("abc",)])
def test_misuse(words: Sequence[str]) -> None:
    done = top(*words)
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_foreign_user(start_program: Start, run_script: Run) -> None:
    program = start_program("top/calls.py")
    worker = support.told(program)[0]
    script = """
        import os, sys
        from earlyfork import top
        from earlyfork.top import _show
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        for pid in sys.argv[1:]:
            assert top.main(int(pid), once=True, as_json=True, interval=1.0) == 1
        assert not top.look().programs
        """
    done = run_script(script, str(program.pid), str(worker))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("only that user, or root, can see it (you are nobody)") == 2


def test_a_system_without_proc(run_script: Run, tmp_path: Path) -> None:
    script = """
        import sys
        from earlyfork.top import _proc, main
        _proc.PROC = sys.argv[1]
        sys.exit(main(None, once=True, as_json=False, interval=1.0))
        """
    done = run_script(script, str(tmp_path))
    assert done.returncode == 1
    assert "reads /proc" in done.stderr


# -- live ------------------------------------------------------------------------------------------


@pytest.fixture(
    params=[
        "plain",
        pytest.param(
            "rich", marks=pytest.mark.skipif(not HAS_RICH, reason="rich is not installed")
        ),
    ]
)
def library(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where rich can't be imported from; None: it may be."""
    if request.param == "rich":
        return None
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "rich.py").write_text("raise ImportError\n")
    return str(tmp_path / "hidden")


def test_a_page_that_is_alive(start_program: Start, library: str | None) -> None:
    program = start_program("top/calls.py")
    visible = support.told(program)[0]
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
    env = support.clean_env(TERM="xterm", **({"PYTHONPATH": library} if library else {}))
    words = [sys.executable, "-m", "earlyfork", "top", "--interval", "0.05", str(program.pid)]
    shown = bytearray()
    with subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=env
    ) as watcher:
        os.close(terminal)

        def seen(text: str) -> bool:
            while support.readable_within(master, 0):
                try:
                    shown.extend(os.read(master, 65536))
                except OSError:  # the end of a terminal
                    break
            return text.encode() in shown

        try:
            support.wait_until(lambda: seen(str(visible)), support.PATIENCE, master)
            again = b"\x1b[H" if library else b"\x1b[1A"
            support.wait_until(lambda: not seen("\0") and shown.count(again) > 3)
            # The program dies while it is watched, and so does all that it had.
            program.kill()
            program.wait(support.PATIENCE)
            support.wait_until(lambda: seen(f"process {program.pid} has ended"))
            assert watcher.wait(support.PATIENCE) == 0
        finally:
            watcher.kill()
            os.close(master)


def test_pages_for_a_pipe(start_program: Start) -> None:
    program = start_program("top/calls.py")
    support.told(program)
    words = [sys.executable, "-m", "earlyfork", "top", "--interval", "0.05", "--json"]
    with subprocess.Popen(
        [*words, str(program.pid)], stdout=subprocess.PIPE, env=support.clean_env()
    ) as watcher:
        assert watcher.stdout is not None
        for _ in range(3):
            assert json.loads(watcher.stdout.readline())["programs"][0]["pid"] == program.pid
        watcher.send_signal(signal.SIGINT)
        watcher.stdout.read()
        assert watcher.wait(support.PATIENCE) == 0


def test_a_reader_that_has_read_enough(start_program: Start) -> None:
    program = start_program("top/calls.py")
    support.told(program)
    words = [sys.executable, "-m", "earlyfork", "top", "--interval", "0.05", str(program.pid)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.clean_env()
    ) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        watcher.stdout.readline()
        watcher.stdout.close()
        assert watcher.wait(support.PATIENCE) == 0
        assert watcher.stderr.read() == b""


def test_a_pool(start_program: Start) -> None:
    program = start_program("top/pools.py")
    seen, unseen = support.told(program)
    rows = {row["pid"]: row for row in page_of(program.pid)["programs"][0]["rows"]}
    assert (rows[seen]["runs"], rows[seen]["done"], rows[seen]["waiting"]) == ("time.sleep", 1, 0)
    assert rows[seen]["runs_for"] > 0
    assert (rows[unseen]["runs"], rows[unseen]["done"]) == ("", None)
    support.go_on(program)
    assert program.wait(support.PATIENCE) == 0
