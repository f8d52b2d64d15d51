"""What code sets for its whole process stays in that process, and in the clones made of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import ORIGINS

if TYPE_CHECKING:
    from support import Run


@pytest.mark.parametrize("origin", ORIGINS)
def test_it_is_in_no_other_process_of_the_same_template(run_program: Run, origin: str) -> None:
    """Nor is it in those forked ahead. What is blocked is so while it is prepared, and no longer."""
    run_program("kept_apart/same_template.py", env=ORIGINS[origin])


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_running_worker_changes_nobody_else(run_program: Run, origin: str) -> None:
    """Not even what it makes by new(): of its surroundings only what a caller hands over is there."""
    run_program("kept_apart/running.py", env=ORIGINS[origin])


def test_a_snapshot_keeps_its_clones_apart(run_program: Run) -> None:
    run_program("kept_apart/snapshot.py")
