"""Each party is killed after each byte of a session: nobody hangs, and nobody stays behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run

THOROUGH = "EARLYFORK_FAULTS" in os.environ

#: Session and who is killed in it: see programs/faults/killed.py.
WHO = (
    "owner's end closed",
    "owner killed",
    "worker killed",
    "worker killed before",
    "template killed",
    "standbys killed",
)
ROUNDS = [
    *(("run", who) for who in WHO),
    *((session, who) for session in ("exec", "prepared") for who in WHO[:5]),
    ("command", "main killed"),
    ("command", "template killed in command"),
]
#: Every so many bytes, beside those at and around the ends of frames.
STEPS = {"owner killed": 61, "template killed": 400, "standbys killed": 97}
SLOW = {"template killed", "main killed", "template killed in command"}


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("session", "who"), ROUNDS)
def test_killed_after_each_byte(run_program: Run, session: str, who: str) -> None:
    step = 1 if THOROUGH else 400 if who in SLOW else STEPS.get(who, 7)
    if THOROUGH and who in SLOW:
        step = 25  # each costs the launch of an interpreter
    done = run_program("faults/killed.py", session, who, str(step), timeout=270)
    print(done.stdout)
    if who not in SLOW:  # whose processes say where they can
        assert done.stderr == ""
