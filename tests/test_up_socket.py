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
