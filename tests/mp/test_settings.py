"""What can be set for workers, and how they see their caller: as it is now."""

from __future__ import annotations

import ast
import signal
import sys
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

    from mp.shared import Say


def test_a_template_of_the_user(run_file: Say) -> None:
    out = run_file("template_of_the_user.py")
    assert out.splitlines() == [
        "True 1",
        "False None",
        "0 True True",
        "template= takes an earlyfork.Process, not str",
    ]


@pytest.mark.parametrize("where", ["ctx", "mp"])
def test_preload(run: Say, where: str) -> None:
    out = run(
        """\
def show():
    return "decimal" in sys.modules
""",
        f"""\
mp.set_start_method("earlyfork")
with ctx.Pool(1) as pool:
    print(pool.apply(show))
{where}.set_forkserver_preload(["decimal", "there_is_no_such_module", "__main__"])
with ctx.Pool(1) as pool:
    print(pool.apply(show))
try:
    {where}.set_forkserver_preload([1])
except TypeError:
    print("refused")
""",
    )
    # Up to 3.10 the stdlib's own function checks the list that was set before, not this one.
    unchecked = where == "mp" and sys.version_info < (3, 11)
    assert out == "False\nTrue\n" + "refused\n" * (not unchecked)


def test_set_executable(run: Say, tmp_path: Path) -> None:
    wrapper = tmp_path / "python-of-mine"
    wrapper.write_text(f'#!/bin/sh\necho launched >&2\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    out = run(
        "def show():\n    return 5",
        """\
saved = os.dup(2)
os.dup2(os.open("launches", os.O_WRONLY | os.O_CREAT), 2)
mp.set_executable(sys.argv[1])
for _ in range(2):
    with ctx.Pool(1) as pool:
        print(pool.apply(show))
os.dup2(saved, 2)
""",
        str(wrapper),
    )
    assert out == "5\n5\n"
    # One for the template; the resource tracker is the stdlib's, and is launched as ever.
    assert (tmp_path / "launches").read_text() in {"launched\n", "launched\n" * 2}


def test_flags_of_the_interpreter(run: Say) -> None:
    out = run(
        "def show():\n    return tuple(sys.flags)",
        "with ctx.Pool(1) as pool:\n    print(pool.apply(show) == tuple(sys.flags))",
        flags=("-S", "-O", "-Werror"),
        env=support.with_work(),  # with -S nothing is found that was installed
    )
    assert out == "True\n"


# --- a worker sees its caller as it is now --------------------------------------------------------


def test_a_worker_sees_the_caller_as_it_is_now(run_file: Say) -> None:
    out = run_file("changes_itself.py")
    seen, cpus = (ast.literal_eval(line) for line in out.splitlines())
    assert seen == {
        "env": "now",
        "removed": None,
        "cwd": True,
        "path": True,
        "argv": "late",
        "umask": "0o27",
        "nice": 3,
        "core": 0,
        "files": 200,
        "affinity": cpus,
        "blocked": [int(signal.SIGUSR2)],
        "hup": seen["hup"],
        "usr1": seen["usr1"],
        "int": True,
        "name": "Namely",
        "key": b"secret",
    }
    assert seen["hup"] in {"Handlers.SIG_IGN", "1"}
    assert seen["usr1"] in {"Handlers.SIG_DFL", "0"}


def test_limits_and_niceness_of_the_caller_are_the_workers(run_file: Say) -> None:
    assert run_file("limits_and_niceness.py") == "\nTrue\n"


def test_a_worker_writes_where_its_caller_does_now(run_file: Say, tmp_path: Path) -> None:
    out = run_file("redirects_itself.py")
    assert (tmp_path / "redirected1").read_text() == "raw printed\n"
    assert out == ""
    assert (tmp_path / "redirected2").read_text() == "error\nerror\n"


def test_stdin_of_the_caller_is_not_touched(run: Say) -> None:
    out = run(
        'taken = sys.stdin.read(1) if __name__ == "__mp_main__" else None\n'
        "def look():\n    return taken, sys.stdin.read()",
        "with ctx.Pool(1) as pool:\n    print(pool.apply(look))\nprint(sys.stdin.read())",
        stdin_text="mine",
    )
    assert out == "('', '')\nmine\n"


def test_a_working_directory_that_was_removed(run_file: Say) -> None:
    assert run_file("loses_its_directory.py") == "0\nTrue True\nTrue\nother\n"


@pytest.mark.parametrize("again", [False, True])
def test_a_site_directory_that_is_added_later(run_file: Say, again: bool) -> None:
    """The path travels; what its .pth files have run is run where the program runs it again."""
    out = run_file("adds_a_site_directory.py", *["again"] * again)
    assert out.splitlines() == [
        "new True False",
        "told True True",
        "snapshot True True",
        f"mp True {again}",
    ]
