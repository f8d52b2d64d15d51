"""Who ends, and who lives on, when the main program or a template does."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, go_on, told

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run, Start


#: What a program may end by, with its exit status.
ENDS = {
    "returns": 0,
    "exits": 3,
    "raises": 1,
    "os._exit": 4,
    "SIGKILL": -signal.SIGKILL,
    "SIGTERM": -signal.SIGTERM,
    "exec": 5,
}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", ENDS)
def test_nothing_that_was_not_run_outlives_the_main_program(
    start_program: Start, how: str, origin: str
) -> None:
    process = start_program("lifelines/full_house.py", how, env=ORIGINS[origin])
    assert process.stdout is not None
    assert process.stderr is not None
    pids = told(process)
    assert len(pids) >= 10
    assert all(support.alive(pid) for pid in pids)
    go_on(process)
    if how == "exec":  # the sockets are close-on-exec: what runs now never asked for them
        for pid in pids:
            assert support.gone_within(pid, 5), support.describe(pid)
        go_on(process)
    # Both streams end, though the one in a long eval wants half a second.
    support.read_until_eof(process.stdout.fileno(), 5)
    assert process.wait(10) == ENDS[how]
    for pid in pids:
        assert support.gone_within(pid, 5), support.describe(pid)
    support.wait_until(lambda: not support.session(process.pid))
    said = process.stderr.read()
    assert said.count("Traceback") == (how == "raises"), said


def test_workers_live_on_and_see_the_end(start_program: Start, tmp_path: Path) -> None:
    process = start_program("lifelines/workers_of_all_kinds.py")
    pids = told(process)
    process.kill()
    process.wait()
    for pid in pids:
        assert support.gone_within(pid), support.describe(pid)
    for number in range(len(pids)):
        assert (tmp_path / f"log-{number}").read_text() == "saw the end"


@pytest.mark.parametrize("which", ["early", "launched", "prepared"])
def test_workers_of_a_killed_template_live_on_and_are_lost(run_program: Run, which: str) -> None:
    env = {"EARLYFORK": "0"} if which == "launched" else {}
    run_program("lifelines/kills_a_template.py", which, env=env)
