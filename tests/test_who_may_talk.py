"""No name to connect to, no fd that leaks, no secret that a sibling sees, no fork for a stranger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import ORIGINS

if TYPE_CHECKING:
    from support import Run


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_socket_has_a_name(run_program: Run, origin: str) -> None:
    """Neither in the filesystem nor in the abstract namespace, in any of the processes."""
    run_program("who_may_talk/sockets.py", env=ORIGINS[origin])


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_fds_are_close_on_exec_at_all_times(run_program: Run, origin: str) -> None:
    """Commands that another thread executes meanwhile never get one, whatever moment they catch."""
    run_program("who_may_talk/executes_meanwhile.py", env=ORIGINS[origin], timeout=55)


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
def test_what_one_child_was_told_is_not_in_its_template_nor_in_the_next(
    run_program: Run, origin: str
) -> None:
    """The template only forks: environment, arguments and code never pass through it."""
    run_program("who_may_talk/secrets.py", env=ORIGINS[origin])


@pytest.mark.root
def test_a_worker_that_gave_up_its_rights_makes_no_template_fork(run_program: Run) -> None:
    run_program("who_may_talk/gave_up_rights.py")


@pytest.mark.root
def test_a_worker_without_rights_may_use_what_it_was_handed(run_program: Run) -> None:
    run_program("who_may_talk/was_handed.py")
