"""Each party is killed after each byte of a session: nobody hangs, and nobody stays behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run

THOROUGH = "EARLYFORK_FAULTS" in os.environ

#: Who is killed: see programs/faults/killed.py.
WHO = (
    "owner's end closed",
    "owner killed",
    "worker killed",
    "worker killed before",
    "template killed",
    "standbys killed",
)
#: Every so many bytes, beside those at and around the ends of frames.
STEPS = {"owner killed": 61, "template killed": 400, "standbys killed": 97}


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("who", WHO)
def test_killed_after_each_byte(run_program: Run, who: str) -> None:
    step = 1 if THOROUGH else STEPS.get(who, 7)
    if THOROUGH and who == "template killed":
        step = 25  # each costs the launch of an interpreter
    done = run_program("faults/killed.py", who, str(step), timeout=270)
    print(done.stdout)
    if who != "template killed":  # whose processes say where they can
        assert done.stderr == ""
