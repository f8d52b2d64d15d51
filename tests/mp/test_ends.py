"""How processes end, who is told, and who ends with whom."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from mp.shared import program, text

import support

if TYPE_CHECKING:
    from pathlib import Path

    from mp.shared import Say

    from support import Start


def test_exit_codes(run_file: Say) -> None:
    out = run_file("exit_codes.py")
    got = dict(line.split() for line in out.splitlines())
    assert got == {
        **{n: n for n in ("0", "1", "7", "255", "-9", "-15", "-6", "-11")},
        "raise": "1",
        "text": "1",
        "_exit": "77",
        "none": "0",
    }


def test_terminate_kill_is_alive_sentinel(run_file: Say) -> None:
    assert run_file("terminate_and_kill.py") == "-15\n-9\n"


def test_interrupt(run_file: Say) -> None:
    """`Process.interrupt()` of Python 3.14 and later, whose half is there before."""
    assert run_file("interrupt.py") == "waits\ninterrupted\n0\n"


def test_poll_from_many_threads_loses_no_exit_code(run_file: Say) -> None:
    assert run_file("threads_start_children.py") == "32 True\n"


def test_what_the_main_module_registers_runs_at_each_workers_end(run_file: Say) -> None:
    """As with spawn; from a snapshot, where the main module was run as itself, it does not."""
    spawned = run_file("registers_exits.py", "spawn")
    assert spawned.splitlines()[:2] == ["finalized", "the worker's own"]
    assert "mp_main decorated\n" in spawned
    assert run_file("registers_exits.py", "earlyfork") == spawned
    from_snapshot = run_file("registers_exits.py", "snapshot")
    assert from_snapshot == "finalized\nthe worker's own\nflushed 1\n" * 2


# --- parents and children -------------------------------------------------------------------------


def test_parent_process(run: Say) -> None:
    out = run(
        """\
def look(c):
    parent = mp.parent_process()
    c.send((parent.pid, parent.is_alive(), parent.name))
""",
        """\
a, b = ctx.Pipe()
p = ctx.Process(target=look, args=(b,))
p.start()
print(a.recv() == (os.getpid(), True, "MainProcess"))
p.join()
""",
    )
    assert out == "True\n"


def test_orphans_see_the_end_of_their_parent(
    origin: str, start_script: Start, tmp_path: Path
) -> None:
    """A process that is no daemon outlives its parent and can tell."""
    source = text(
        origin,
        """\
def outlive(path):
    with open(path, "w") as pipe:
        print(os.getpid(), file=pipe, flush=True)
        mp.parent_process().join()
        print("orphan", file=pipe, flush=True)
""",
        """\
os.mkfifo("pipe")
ctx.Process(target=outlive, args=("pipe",)).start()
print("started", flush=True)
signal.pause()
""",
    )
    process = start_script(source)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    with (tmp_path / "pipe").open() as pipe:
        pid = int(pipe.readline())
        process.kill()
        process.wait()
        assert pipe.read() == "orphan\n"
    assert support.gone_within(pid)


@pytest.mark.parametrize("busy", ["idle", "busy"])
@pytest.mark.parametrize("what", ["process", "pool", "executor", "nested"])
def test_daemons_and_pools_die_with_a_killed_parent(
    origin: str, start_script: Start, what: str, busy: str
) -> None:
    process = start_script(program(origin, "waits_to_be_killed.py"), what, busy)
    assert process.stdout is not None
    pids = {int(process.stdout.readline()) for _ in range(6 if what == "nested" else 2)}
    assert all(support.alive(pid) for pid in pids)
    process.kill()
    process.wait()
    for pid in pids:
        assert support.gone_within(pid), support.describe(pid)
    # What keeps the streams open is a template or a tracker that stayed.
    assert support.eof_within(process.stdout.fileno())


def test_daemons_end_with_their_parent(run: Say) -> None:
    out = run(
        """\
def wait(c):
    c.send(os.getpid())
    signal.pause()
""",
        """\
a, b = ctx.Pipe()
ctx.Process(target=wait, args=(b,), daemon=True).start()
print(a.recv())
""",
    )
    assert support.gone_within(int(out))


# --- what nobody can know, or do -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs to see the death of a stranger")
def test_a_killed_template_is_replaced(run_file: Say) -> None:
    """A living worker stays alive in our eyes; what nobody can know is the stdlib's 255."""
    assert run_file("kills_the_template.py") == "3 True\n255\n"


def test_workers_of_a_killed_template_can_be_killed(run_file: Say) -> None:
    """Nobody can know how they ended; that they ended is seen."""
    assert run_file("kills_the_template_and_the_child.py") == "True None\nFalse 255\n"


def test_a_process_that_the_kernel_refuses(run_file: Say) -> None:
    """No fds are left: it was never started, and the next one is."""
    assert run_file("no_fds_for_a_child.py") == "refused True\n0\n"
