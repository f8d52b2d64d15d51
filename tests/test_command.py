"""COMPANIONS, "Process.exec and earlyfork.command": commands, wherever they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run

WAYS = {"early": {}, "launched": {"EARLYFORK": "0"}, "pure": {"EARLYFORK_PURE": "1"}}


@pytest.mark.parametrize("way", WAYS)
def test_a_template_executes_commands_itself(run_program: Run, way: str) -> None:
    done = run_program("command/direct.py", env=WAYS[way])
    assert done.stdout == f"done {way != 'launched'}\n", done
