"""Interruptions, files closed behind our back, peers that lie: nothing is lost and nobody harmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from earlyfork._shared.quick import quick
from support import output_of

if TYPE_CHECKING:
    from support import Run

CALLS = ("fork", "run", "prepare", "new", "clone", "hand_over", "wait")


@pytest.mark.skipif(quick is None, reason="destructors in Python can be interrupted themselves")
@pytest.mark.parametrize("standby", ["0", "2"])
@pytest.mark.parametrize("call", CALLS)
def test_an_exception_out_of_a_signal_handler_leaves_nothing(
    run_program: Run, call: str, standby: str
) -> None:
    assert output_of(run_program("misuse/interrupted.py", call, standby, timeout=50)) == ""


@pytest.mark.parametrize("pure", ["", "1"])
def test_who_took_the_numbers_of_closed_fds_is_left_alone(run_program: Run, pure: str) -> None:
    done = run_program("misuse/closed_behind.py", env={"EARLYFORK_PURE": pure})
    assert output_of(done) == ""


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_peer_that_lies_has_nobody_signalled(run_program: Run, pure: str) -> None:
    assert output_of(run_program("misuse/liar.py", env={"EARLYFORK_PURE": pure})) == ""
