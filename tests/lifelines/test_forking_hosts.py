"""A host that forks itself, or becomes a daemon."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

import support
from support import ORIGINS, go_on, output_of

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run, Start


@pytest.mark.parametrize("before", ["at once", "in steady use"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_both_sides_of_a_host_that_forks_can_go_on(
    run_program: Run, origin: str, before: str
) -> None:
    assert output_of(run_program("lifelines/forks_itself.py", before, env=ORIGINS[origin])) == ""


def test_a_forked_hosts_child_outlives_its_parent(start_script: Start) -> None:
    """The template lives as long as anybody holds it."""
    process = start_script(
        """
        import earlyfork
        import os, sys, work
        earlyfork.new().ready(10)
        if os.fork():
            os._exit(0)
        sys.stdin.readline()
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        assert earlyfork.status().early
        print("good", flush=True)
        """,
        stdin=subprocess.PIPE,
        env=support.with_work(),
    )
    assert process.stdout is not None
    assert process.wait(10) == 0
    go_on(process)
    assert support.read_until_eof(process.stdout.fileno()) == b"good\n"


@pytest.mark.parametrize("close", ["the streams", "everything"])
@pytest.mark.parametrize("used", [False, True])
def test_a_daemon(start_program: Start, tmp_path: Path, close: str, used: bool) -> None:
    """Double fork, setsid, closed streams: then new() starts processes as the daemon's own."""
    process = start_program("lifelines/daemon.py", close, str(used))
    assert process.wait(10) == 0
    assert process.stdout is not None
    # The terminal's side, or whoever started the daemon, is let go of.
    log = tmp_path / "log"
    support.wait_until(log.exists, 20)
    assert log.read_text() == "good"
    assert support.eof_within(process.stdout.fileno(), 5)
