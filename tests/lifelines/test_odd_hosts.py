"""Hosts in unusual states: stopped, pid 1, ended by a thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, go_on, run_command, told

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run, Start


# -- stopped and continued -----------------------------------------------------------------------


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_main_program_that_is_stopped_finds_all_as_it_was(
    start_program: Start, origin: str
) -> None:
    """Neither the stop nor what ends meanwhile is lost; linked workers are not ended by a stop."""
    process = start_program("lifelines/is_stopped.py", env=ORIGINS[origin])
    pids = told(process)
    process.send_signal(signal.SIGSTOP)
    support.wait_until(lambda: support.state(process.pid) == "T")
    os.kill(pids[2], signal.SIGKILL)
    assert support.gone_within(pids[2])
    for pid in (pids[0], pids[1], pids[3]):
        assert support.alive(pid), support.describe(pid)
    process.send_signal(signal.SIGCONT)
    go_on(process)
    assert told(process) == "good"
    assert process.wait(10) == 0


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_template_that_is_stopped_delays_and_loses_nothing(run_program: Run, origin: str) -> None:
    run_program("lifelines/stops_its_template.py", env=ORIGINS[origin])


def test_a_stopped_main_program_that_is_killed_takes_all_with_it(start_script: Start) -> None:
    process = start_script(
        """
        import earlyfork
        import json, sys, work
        linked = earlyfork.new()
        assert linked.run(work.stubborn, linked=True).recv(1) == b"!"
        prepared = earlyfork.new().ready(10)
        template = earlyfork.status().templates[0].pid
        pids = {"template": template, "linked": linked.pid, "prepared": prepared.pid}
        print(json.dumps(pids), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=support.with_work(),
    )
    pids = told(process)
    process.send_signal(signal.SIGSTOP)
    support.wait_until(lambda: support.state(process.pid) == "T")
    support.assert_all_end_with(process, pids, 5)


# -- pid 1 ---------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_main_program_that_is_pid_1(
    pid_namespace: list[str], tmp_path: Path, origin: str
) -> None:
    """As in a container: orphans come to it, and nothing is killed for having pid 1 as parent."""
    script = support.write_script(support.program("lifelines/pid_1.py"), tmp_path)
    env = support.with_work(**ORIGINS[origin])
    done = run_command([*pid_namespace, sys.executable, script], env=env, timeout=40)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


# -- ended by a thread ---------------------------------------------------------------------------


#: What a program may end by, with its exit status.
THREAD_ENDS = {
    "os._exit in a thread": 6,
    "SIGKILL from a thread": -signal.SIGKILL,
    "SIGTERM to a thread": -signal.SIGTERM,
    "a fatal signal in a thread": -signal.SIGABRT,
}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", THREAD_ENDS)
def test_ended_from_a_thread(start_program: Start, how: str, origin: str) -> None:
    process = start_program("lifelines/ends_from_a_thread.py", how, env=ORIGINS[origin])
    pids = told(process)
    go_on(process)
    assert process.wait(10) == THREAD_ENDS[how]
    for pid in pids:
        assert support.gone_within(pid, 5), support.describe(pid)
    support.wait_until(lambda: not support.session(process.pid))


def test_an_error_in_a_thread_ends_nothing(run_program: Run) -> None:
    """The interpreter prints it and goes on; so do the processes that the thread made."""
    done = run_program("lifelines/error_in_a_thread.py")
    assert "end of the thread" in done.stderr
