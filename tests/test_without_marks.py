"""Where a process can't mark its way up (qemu-user, gVisor), it says by a message that it runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="a filter of system calls takes root here")
@pytest.mark.parametrize("pure", [None, "1"])
def test_a_kernel_without_marks(run_program: Run, pure: str | None) -> None:
    done = run_program("without_marks/kernel.py", env={"EARLYFORK_PURE": pure})
    assert done.stdout == "inner 5\ninner 5\n"
    assert done.stderr == ""
