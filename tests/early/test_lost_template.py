"""A template that was killed, or lost its sockets: it is replaced, and that is told once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import support

if TYPE_CHECKING:
    from support import Run


def test_a_killed_template_is_replaced_and_told_once(run_program: Run) -> None:
    run_program("early/kills_its_template.py")


def test_a_template_that_is_killed_before_first_use(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, signal, support, warnings, work
        [pid] = [p for p, name in support.session(os.getsid(0)).items() if p != os.getpid()]
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            process = earlyfork.new()
        assert work.got(process.run(work.pid)) == process.pid
        assert len(caught) == 1, caught
        """,
        check=True,
        env=support.with_work(),
    )


def test_many_threads_replace_a_killed_template_once(run_program: Run) -> None:
    run_program("early/kills_its_template_beside_threads.py")


def test_a_host_that_closes_all_fds_can_go_on(run_program: Run) -> None:
    """As daemons do; and a file that is given an old number of ours is not closed by us."""
    run_program("early/closes_all_fds.py")


def test_a_worker_goes_on_without_the_template_it_came_from(run_program: Run) -> None:
    """Its next processes come from one that it launches, and a warning says why."""
    done = run_program("early/worker_without_template.py")
    assert done.stdout == "went on\n"
