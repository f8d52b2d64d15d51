"""Hundreds of threads at once, recycled pids, and a fork in the middle of a creation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, output_of, run_command

if TYPE_CHECKING:
    from support import Run


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_hundreds_of_threads_create_wait_kill_and_drop(run_program: Run, origin: str) -> None:
    run_program("threads/hundreds.py", env=ORIGINS[origin], timeout=55)


@pytest.mark.root
@pytest.mark.slow
def test_a_signal_never_reaches_a_recycled_pid(pid_namespace: list[str], tmp_path: Path) -> None:
    """With few pids in all, each is used again at once; whoever is not meant must never be hit."""
    script = support.write_script(support.program("threads/recycled_pids.py"), tmp_path)
    command = [*pid_namespace, sys.executable]
    probe = "open('/proc/sys/kernel/pid_max', 'w').write('400')"
    done = run_command([*command, "-c", probe])
    if done.returncode or Path("/proc/sys/kernel/pid_max").read_text() == "400\n":
        pytest.skip("this kernel has no limit of pids per namespace")
    done = run_command([*command, script], env=support.with_work(), timeout=55)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recycled"), done.stdout


@pytest.mark.root
def test_the_pid_of_a_process_that_has_ended_is_somebody_elses(
    pid_namespace: list[str], tmp_path: Path
) -> None:
    """Each time, and not by chance: the next process takes that very pid, and then come signals."""
    script = support.write_script(support.program("threads/same_pid.py"), tmp_path)
    probe = "open('/proc/sys/kernel/ns_last_pid', 'w').write('99')"
    command = [*pid_namespace, sys.executable]
    done = run_command([*command, "-c", probe])
    if done.returncode:
        pytest.skip(f"the next pid can't be chosen here: {done.stderr.strip()[-100:]}")
    env = support.with_work(EARLYFORK_STANDBY="0")  # nobody but the program takes a pid
    done = run_command([*command, script], env=env, timeout=50)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_the_host_forks_while_other_threads_create(run_program: Run, origin: str) -> None:
    """Whatever lock another thread held just then, the child of the host can go on."""
    program = "threads/forks_beside_makers.py"
    assert output_of(run_program(program, env=ORIGINS[origin], timeout=55)) == ""


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_host_forks_while_another_thread_asks_a_template(run_program: Run, origin: str) -> None:
    """In the middle of a poll, and with the fds of a request: the child of the host has neither."""
    env = ORIGINS[origin] | {"EARLYFORK_STANDBY": "0"}
    done = run_program("threads/forks_beside_asker.py", env=env, timeout=30)
    assert output_of(done) == ""
