"""SEMANTICS, "creating never waits": whoever should answer is held still until all calls are back.

No clock is in these tests. The main program itself lets the other side go on, after the last call:
one call that waits for an answer waits for ever, and the program is killed by its deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support import ORIGINS

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_default_template_is_stopped(run_program: Run, origin: str) -> None:
    run_program("never_waits/default_stopped.py", env=ORIGINS[origin])


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_process_is_stopped_while_it_is_prepared_and_forked(
    run_program: Run, origin: str
) -> None:
    run_program("never_waits/process_stopped.py", env=ORIGINS[origin])


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", ["in an import", "in code", "in a call"])
def test_a_process_is_busy_for_long(
    run_program: Run, tmp_path: Path, origin: str, how: str
) -> None:
    """What it was told takes as long as it takes; meanwhile it is prepared further and forked."""
    (tmp_path / "very_slow.py").write_text("with open('gate') as gate: gate.read()\n")
    run_program("never_waits/busy.py", how, env=ORIGINS[origin])


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_was_launched_does_not_begin(run_program: Run, origin: str) -> None:
    """Not even the interpreter is there yet, and all is queued for the processes to come."""
    run_program("never_waits/launched_late.py", env=ORIGINS[origin], timeout=30)
