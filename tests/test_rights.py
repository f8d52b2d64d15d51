"""A process has no more rights than who commands it has now, whatever its template may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import ORIGINS

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run

WAYS = (
    *("only_nobody", "a_jail", "a_jail_for_nobody", "for_a_while", "other_groups", "group_alone"),
    *("no_new_privileges", "all_capabilities_but_two"),
)


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", WAYS)
def test_what_the_caller_gave_up_its_processes_have_not(
    run_program: Run, tmp_path: Path, how: str, origin: str
) -> None:
    """New ones, prepared ones, and those that a template or a worker makes."""
    (tmp_path / "jail").mkdir()
    run_program("rights/give_up.py", how, str(tmp_path / "jail"), env=ORIGINS[origin])


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
def test_who_takes_over_a_program_gains_nothing_from_its_templates(
    run_program: Run, origin: str
) -> None:
    """Raw bytes to a prepared process, to a standby, to one that it has forked itself."""
    run_program("rights/taken_over.py", env=ORIGINS[origin])


def test_what_can_not_be_given_up_is_refused_in_words(run_program: Run) -> None:
    run_program("rights/filtered.py")


@pytest.mark.root
def test_all_is_loaded_before_it_is_out_of_reach(run_program: Run, tmp_path: Path) -> None:
    """A chroot right after the import; after it nothing is imported any more."""
    run_program("rights/jailed_at_once.py", str(tmp_path))


@pytest.mark.root
def test_the_functions_that_give_up_rights_are_themselves_again(run_program: Run) -> None:
    run_program("rights/replaced_for_a_moment.py")


@pytest.mark.root
@pytest.mark.parametrize(
    "how", ["ends", "executes a setuid program", "makes a namespace of users", "does nothing"]
)
def test_what_a_sender_gets_later_is_not_its_own(run_program: Run, how: str) -> None:
    """Its batch waits in a socket; when it is obeyed, the system says other things of the sender."""
    run_program("rights/attacked.py", how)


@pytest.mark.root
def test_what_a_jail_calls_proc_is_not_believed(run_program: Run, tmp_path: Path) -> None:
    run_program("rights/forged_proc.py", str(tmp_path))
