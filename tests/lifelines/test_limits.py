"""What happens at a limit: no fds or no processes are left."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, output_of, run_command

if TYPE_CHECKING:
    import subprocess

    from support import Run


@pytest.mark.parametrize("origin", ORIGINS)
def test_too_many_open_files(run_program: Run, origin: str) -> None:
    """Each call says so, leaks nothing, and works once there is room."""
    assert output_of(run_program("lifelines/no_fds.py", env=ORIGINS[origin], timeout=50)) == ""


def test_too_many_open_files_at_the_first_line(run_program: Run) -> None:
    """No early template then, and a warning; the program goes on."""
    run_program("lifelines/no_fds_at_the_first_line.py")


def uid_without_processes() -> int:
    """A user id that nobody uses, so that its limit is this test's own; by worker of xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return 61000 + (int(worker) if worker.isdecimal() else 0)


def run_as(uid: int, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command as another user, who finds earlyfork and the tests, if they can be read."""
    user: dict[str, object] = {"user": uid, "group": uid, "extra_groups": []}
    return run_command(
        command, directory=Path("/"), env=support.with_work(**env), timeout=30, **user
    )


def run_without_processes(name: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of tests/programs as a user who has no processes, on a Python for that user."""
    uid = uid_without_processes()
    problems = []
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            probe = [python, "-c", "import earlyfork, support, work"]
            done = run_as(uid, probe, EARLYFORK="0")  # a template of its would count
        except OSError as error:
            problems.append(str(error))
            continue
        if not done.returncode:
            # Its text: its directory can't be read by others.
            return run_as(uid, [python, "-c", support.program(name), *args], **env)
        problems.append(f"{python}: {done.stderr.strip()[-100:]}")
    pytest.skip(f"another user can run no Python here: {'; '.join(problems)}")


@pytest.mark.root
def test_too_many_processes() -> None:
    """A fork that the kernel refuses is that one process's error; the template lives on."""
    done = run_without_processes("lifelines/no_processes.py")
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


@pytest.mark.root
@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("what", ["the first new()", "new_exec()", "snapshot()"])
def test_too_many_processes_to_make_a_template(what: str, pure: str) -> None:
    """What has no template to fork for it fails itself: it says what was to be made.

    It leaves nothing, and works later. A snapshot is forked twice. Beside the program, and the
    snapshot that the import took, a third process may come to be then, and tells that it can't make
    the fourth.
    """
    program = "lifelines/no_processes_for_a_template.py"
    done = run_without_processes(program, what, EARLYFORK="0", EARLYFORK_PURE=pure)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr
