"""What nobody should notice: fds and children that are not the user's, and what a standby did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from mp.shared import Say


def test_nothing_else_comes_along(run: Say) -> None:
    """A worker holds its standard streams, what was sent to it, and few of our own."""
    out = run(
        """\
def look(c):
    import support
    c.send(sorted(name for n, name in support.open_fds().items() if n > 2))
""",
        """\
kept = open("a-file-of-the-caller", "w")
c, d = ctx.Pipe()
p = ctx.Process(target=look, args=(d,))
p.start()
found = c.recv()
p.join()
print(sum("a-file-of-the-caller" in name for name in found), len(found) < 8, found)
""",
        env=support.with_work(),
    )
    assert out.startswith("0 True"), out


def test_what_a_standby_rehearses_leaves_no_trace(run_file: Say) -> None:
    """Workers that were forked ahead are like the first, and nobody hears of those never used."""
    out = run_file("looks_for_traces.py")
    lines = out.splitlines()
    assert lines[:6] == ["after a fork"] * 6
    assert lines[6].startswith("True"), out
    assert len(lines) == 7


def test_no_fd_stays_for_a_process_that_was_closed(run_file: Say) -> None:
    assert run_file("counts_fds.py") == "0\n"


def test_children_of_the_caller_are_its_own(run_file: Say) -> None:
    """Nothing of this shows up in os.wait(), but the stdlib's resource tracker."""
    assert run_file("waits_for_any.py") == "4\n"


def test_beside_a_plain_fork(run_file: Say) -> None:
    assert run_file("forks_beside.py") == "5\n-9\n"


@pytest.mark.parametrize("hooks", [["_bootstrap"], ["run"], ["_bootstrap", "run"]])
def test_hooks_of_others_run_once_in_each_process(run_file: Say, hooks: list[str]) -> None:
    """A tool that measures processes puts them there; a rehearsal is no process of anybody's."""
    run_file("notes_its_hooks.py", *hooks)
