"""Linked workers end with their owner, and so does all that they made."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from lifelines.shared import LINKED

import support
from support import ORIGINS, go_on, told

if TYPE_CHECKING:
    from pathlib import Path

    from support import Start


@pytest.mark.parametrize("handle", ["held", "dropped", "socket dropped", "started by a thread"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_linked_workers_end_with_a_killed_main_program(
    start_program: Start, handle: str, origin: str
) -> None:
    process = start_program("lifelines/runs_linked.py", handle, *LINKED, env=ORIGINS[origin])
    pids = told(process)
    assert len(pids) == len(LINKED)
    assert all(support.alive(pid) for pid in pids)
    support.assert_all_end_with(process, dict(zip(LINKED, pids, strict=True)), 5)


def test_a_linked_worker_may_tidy_up(start_program: Start, tmp_path: Path) -> None:
    """SIGTERM comes first, and there is time to obey it."""
    process = start_program("lifelines/tidies_up.py", str(tmp_path / "log"))
    pid = told(process)
    process.kill()
    process.wait()
    assert support.gone_within(pid, 5)
    assert (tmp_path / "log").read_text() == "tidied up"


def test_processes_that_were_not_linked_are_left_alone(start_script: Start) -> None:
    """One linked, one not, of one template."""
    process = start_script(
        """
        import earlyfork
        import json, sys
        template = earlyfork.new().require("work")
        workers = [template.fork(), template.fork()]
        socks = [worker.run("work.stubborn", linked=n == 0) for n, worker in enumerate(workers)]
        assert all(sock.recv(1) == b"!" for sock in socks)
        print(json.dumps([worker.pid for worker in workers]), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=support.with_work(),
    )
    linked, free = told(process)
    process.kill()
    process.wait()
    assert support.gone_within(linked, 5)
    assert support.alive(free)
    os.kill(free, signal.SIGKILL)
    assert support.gone_within(free)


def test_a_main_program_that_executes_another_ends_its_linked_workers(
    start_script: Start,
) -> None:
    """The process lives on, but nobody in it knows of the workers: their owner has ended."""
    process = start_script(
        """
        import earlyfork
        import json, os, sys, work
        linked = earlyfork.new()
        sock = linked.run(work.stubborn, linked=True)
        assert sock.recv(1) == b"!"
        free = earlyfork.new()
        held = free.run(work.hold)
        assert held.recv(1) == b"!"
        print(json.dumps([linked.pid, free.pid]), flush=True)
        sys.stdin.readline()
        os.execv("/bin/sh", ["sh", "-c", "read line; exit 5"])
        """,
        stdin=subprocess.PIPE,
        env=support.with_work(),
    )
    linked, free = told(process)
    go_on(process)
    assert support.gone_within(free, 5), "it sees the end of its stream"
    assert support.gone_within(linked, 5), "its owner's sockets are closed by the exec"
    assert process.poll() is None
    go_on(process)
    assert process.wait(10) == 5


#: What a linked worker may have made: see programs/lifelines/trees.py.
TREES = (
    "a child",
    "a child that ignores SIGTERM",
    "a grandchild",
    "a child that goes on forking",
    "a command",
    "a stopped child",
    "processes of its own",
)


@pytest.mark.parametrize("ends", ["by SIGTERM", "by SIGKILL"])
@pytest.mark.parametrize("tree", TREES)
def test_the_children_of_a_linked_worker_end_with_it(
    start_program: Start, tree: str, ends: str
) -> None:
    """Within a second of the main program's death, whether the worker obeys SIGTERM or not."""
    process = start_program("lifelines/has_a_tree.py", tree, ends)
    worker, child = told(process)
    support.assert_all_end_with(process, {"the worker": worker, "what it made": child}, 2)
