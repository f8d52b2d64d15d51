"""What is sent up to a forker may be anything: code in a worker can write there. It harms nobody."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run


@pytest.mark.parametrize("forker", ["template", "prepared", "dropped rights"])
@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "short", "long", "unknown", "fds missing", "fds too many", "too late"),
        *("READY garbage", "ERROR garbage", "many errors", "no socket to answer at", "many fds"),
    ],
)
def test_what_is_sent_up_harms_nobody(run_program: Run, kind: str, forker: str) -> None:
    if forker == "dropped rights" and os.geteuid():
        pytest.skip("needs root")
    env = {"EARLYFORK_STANDBY": "0"}  # standbys come and go, with their fds
    run_program("up_socket/says_anything.py", kind, forker, env=env)


@pytest.mark.root
@pytest.mark.parametrize("how", ["network", "capabilities, then a namespace where it has all"])
def test_who_is_elsewhere_asks_in_vain(run_program: Run, how: str) -> None:
    run_program("up_socket/asks_in_vain.py", how)


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("standby", ["0", "2"])
def test_who_never_stops_talking_delays_nobody(run_program: Run, standby: str, pure: str) -> None:
    run_program("up_socket/never_stops.py", standby, env={"EARLYFORK_PURE": pure})


@pytest.mark.parametrize("pure", ["", "1"])
def test_who_says_more_than_its_owner_reads(run_program: Run, pure: str) -> None:
    run_program("up_socket/says_more_than_is_read.py", env={"EARLYFORK_PURE": pure})


@pytest.mark.root
@pytest.mark.parametrize("pure", ["", "1"])
def test_standbys_come_again_when_they_can(run_program: Run, pure: str) -> None:
    run_program("up_socket/fills_references.py", env={"EARLYFORK_PURE": pure})


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_rehearsal_that_fails(run_program: Run, pure: str) -> None:
    done = run_program("up_socket/rehearsal_fails.py", env={"EARLYFORK_PURE": pure})
    assert "LookupError: rehearsed in vain" in done.stderr
    assert "earlyfork: a standby's rehearsal failed; its template forks no more" in done.stderr


@pytest.mark.parametrize("pure", ["", "1"])
def test_only_a_nursery_is_full(run_program: Run, pure: str) -> None:
    run_program("up_socket/says_full.py", env={"EARLYFORK_PURE": pure})
