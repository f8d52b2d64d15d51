"""COMPANIONS, "Process.exec and earlyfork.command": commands, wherever they come from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from support import told

if TYPE_CHECKING:
    from support import Run, Start

WAYS = {"early": {}, "launched": {"EARLYFORK": "0"}, "pure": {"EARLYFORK_PURE": "1"}}
PEERS = Path(__file__).parent / "stdlib" / "subprocess_tests.py"


@pytest.mark.parametrize("way", WAYS)
def test_a_template_executes_commands_itself(run_program: Run, way: str) -> None:
    done = run_program("command/direct.py", env=WAYS[way])
    assert done.stdout == f"done {way != 'launched'}\n", done


@pytest.mark.parametrize("way", WAYS)
def test_what_subprocess_has_not(run_program: Run, way: str) -> None:
    done = run_program("command/popen.py", env={**WAYS[way], "PYTHONWARNINGS": "error"})
    assert done.stdout == "done\n", done


@pytest.mark.parametrize("way", WAYS)
def test_limits_niceness_and_cpus_are_those_of_the_caller(run_program: Run, way: str) -> None:
    assert run_program("command/standing.py", env=WAYS[way]).stdout == "done\n"


def test_in_a_program_with_a_snapshot(run_program: Run) -> None:
    done = run_program("command/popen.py", "snapshot", "large", timeout=60)
    assert done.stdout == "done\n", done


@pytest.mark.parametrize("template", ["lives", "killed"])
def test_a_linked_command_ends_with_the_program(start_program: Start, template: str) -> None:
    process = start_program("command/linked.py", stdin=subprocess.PIPE)
    child, command = told(process)
    if template == "killed":  # the kernel ends the command itself then
        stat = Path(f"/proc/{command}/stat").read_text()
        parent = int(stat.rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        assert support.gone_within(parent)
        assert support.alive(command)
    process.kill()
    process.wait()
    assert support.gone_within(command, 5)
    if template == "killed":
        os.kill(child, signal.SIGKILL)
    assert support.gone_within(child, 5)


def peers(tmp_path: Path, *options: str, **env: str) -> str:
    done = support.run_command(
        [sys.executable, str(PEERS), *options],
        directory=tmp_path,
        env=support.with_work(**env),
        stderr=subprocess.STDOUT,
        check=False,
        timeout=240,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_cpythons_own_tests_of_subprocess(tmp_path: Path) -> None:
    assert "left out: test_preexec: " in peers(tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.slow if way == "early" else pytest.mark.long)
        for way in WAYS
    ],
)
def test_all_of_cpythons_own_tests_of_subprocess(tmp_path: Path, way: str) -> None:
    peers(tmp_path, "--slow", **WAYS[way])
