"""Linked workers whose template was killed: they end with their owner all the same, and not before.

The orderly way, by the forker, is tested in test_linked.py; here it is gone, or stopped.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from lifelines.shared import LINKED

import support
from support import told

if TYPE_CHECKING:
    from support import Run, Start

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals the end of a socket (F_SETSIG)"
)

#: The kinds of templates, and what is set for them: see programs/second_line/kit.py.
ORIGINS: dict[str, dict[str, str]] = {
    "early": {},
    "launched": {"EARLYFORK": "0"},
    "in Python": {"EARLYFORK_PURE": "1"},
    "prepared": {},
    "snapshot": {},
}


@pytest.mark.parametrize("handle", ["held", "closed", "dropped", "asked", "closed before"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_main_is_killed_after_the_template(start_program: Start, origin: str, handle: str) -> None:
    """Whatever they do, and whatever became of the handles, they live as long as main does."""
    words = (origin, handle, *LINKED)
    process = start_program("second_line/template_first.py", *words, env=ORIGINS[origin])
    pids = told(process)
    assert len(pids) == len(LINKED)
    assert all(support.alive(pid) for pid in pids)
    support.assert_all_end_with(process, dict(zip(LINKED, pids, strict=True)), 5)


@pytest.mark.parametrize("end", ["held", "closed", "dropped"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_they_live_and_work_as_long_as_main(run_program: Run, origin: str, end: str) -> None:
    """Nothing but the end of all holders is an end; and no fd stays when they have ended."""
    run_program("second_line/live_as_long_as_main.py", origin, end, env=ORIGINS[origin])


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("step", ["_flush_locked", "_send", "_numbers"])
def test_a_child_of_main_holds_nothing_that_is_being_sent(
    run_program: Run, step: str, linked: bool
) -> None:
    """As if another thread had forked just then: neither lines nor files of the user's."""
    run_program("second_line/forks_while_sending.py", step, "linked" if linked else "free")


@pytest.mark.parametrize("how", ["forks", "forks while it sends", "executes"])
def test_a_child_of_main_keeps_nobody_alive(start_program: Start, how: str) -> None:
    """What main forked lives on, and holds nothing that a linked worker hangs on."""
    read, write = os.pipe()
    process = start_program("second_line/child_of_main.py", how, str(read), pass_fds=[read])
    os.close(read)
    assert told(process) == -1
    worker, children = told(process)
    assert len(children) == 1
    assert support.alive(worker)
    process.kill()
    process.wait()
    assert support.gone_within(worker, 5), support.describe(worker)
    assert support.alive(children[0])
    os.close(write)
    assert support.gone_within(children[0])


def test_the_template_is_killed_within_the_grace(start_program: Start) -> None:
    """Stopped, it keeps the worker alive as it did before; nothing comes after its end."""
    process = start_program("second_line/stops_the_template.py")
    worker, template = told(process)
    process.kill()
    process.wait()
    assert support.alive(worker)
    os.kill(template, signal.SIGKILL)
    assert support.gone_within(worker, 5), support.describe(worker)


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_owner_is_a_worker(run_program: Run, origin: str) -> None:
    """Main lives on, the template is dead, and the owner is killed, which is linked itself."""
    run_program("second_line/owner_is_a_worker.py", origin, env=ORIGINS[origin])


def test_a_child_of_the_worker_is_nobodys(run_program: Run) -> None:
    """It has the worker's end of the line, is not its owner, and is hit by nothing."""
    run_program("second_line/child_of_a_worker.py")


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_fd_stays(run_program: Run, origin: str) -> None:
    """Neither here nor at the forker; while they run, each has one for its second line."""
    run_program("second_line/counts_fds.py", origin, env=ORIGINS[origin])


def test_an_interrupted_run_leaves_nothing(run_program: Run) -> None:
    """It can be tried again, or dropped."""
    run_program("second_line/interrupted.py")


def test_no_fd_to_be_had(run_program: Run) -> None:
    """The call says so, holds nothing, and works when there is room."""
    run_program("second_line/no_fds.py")


def test_the_worker_closed_everything(start_program: Start) -> None:
    """Then it has the first line only: the template ends it, and nothing does without one."""
    process = start_program("second_line/workers_close_all.py")
    pids = told(process)
    process.kill()
    process.wait()
    assert all(support.gone_within(pid, 5) for pid in pids)
