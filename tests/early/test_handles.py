"""What handles and `status()` tell in a program with an early template."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support import Run


def test_status_tells_what_is_there(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import sys
        first = earlyfork.status()
        assert first.early and len(first.templates) == 1 and not first.processes
        assert sys.executable in first.interpreter, first.interpreter
        process = earlyfork.new().ready(10)
        page = str(earlyfork.status())
        assert "early template: yes" in page and str(process.pid) in page, page
        [entry] = earlyfork.status().processes
        assert (entry.pid, entry.state) == (process.pid, "preparing")
        process.close()
        assert not earlyfork.status().processes
        """,
        check=True,
    )


def test_siblings_are_for_processes_that_were_made(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        try:
            earlyfork.sibling()
        except earlyfork.TemplateDied as error:
            assert "no forker to ask" in str(error)
        else:
            raise AssertionError
        """,
        check=True,
    )


def test_handles_say_what_they_cannot_do(run_program: Run) -> None:
    done = run_program("early/misused_handles.py")
    assert done.stdout == "all refused\n"
