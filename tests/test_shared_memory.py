"""multiprocessing's shared memory: what a worker that attaches to it leaves at its end."""

from __future__ import annotations

import sys
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run

#: Releases in which a program waits at its exit for all that share its tracker.
tracker_is_waited_for = hasattr(resource_tracker.ResourceTracker, "__del__")


@pytest.mark.skipif(tracker_is_waited_for, reason="a snapshot can't share the tracker there")
def test_a_snapshots_worker_destroys_nothing(run_program: Run) -> None:
    """As after `os.fork()`; and nobody warns of anything."""
    support.output_of(run_program("shared_memory/snapshot.py"))


@pytest.mark.parametrize("way", ["plain", "unregister", "track"])
def test_what_a_clean_process_does(run_program: Run, way: str) -> None:
    """As a process that was executed does: it destroys it, unless it is told that it may not."""
    if way == "track" and sys.version_info < (3, 13):
        pytest.skip("before 3.13 there is no track=False")
    done = run_program("shared_memory/clean_process.py", way)
    assert support.output_of(done) == f"{way != 'plain'}\n"


def test_a_clean_template_forgets_the_programs_helpers(run_program: Run) -> None:
    done = run_program("shared_memory/early_template.py")
    assert support.output_of(done) == "served\n"
