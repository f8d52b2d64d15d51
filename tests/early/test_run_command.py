"""`python -m earlyfork run`: a program runs as without it, but with an early template."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from early.shared import IMPORT, TELL, tell

import support
from support import run_command, write_files

if TYPE_CHECKING:
    from pathlib import Path

SHOW = """\
import sys, os
print(sys.argv)
print(__name__, __file__, __package__ or None, __spec__ and __spec__.name)
print(sys.path)
print(sys.modules["__main__"].__dict__ is globals(), sys.flags.optimize)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["one", "two words", ""],
        ["--help", "-m", "x", "run"],
        ["--", "-v"],
        ["a", "--", "b"],
        ["-m"],
    ],
)
@pytest.mark.parametrize("target", [["sub/prog.py"], ["-m", "pkg"], ["-m", "pkg.mod"]])
def test_run_is_as_without_it(tmp_path: Path, target: list[str], arguments: list[str]) -> None:
    write_files(
        tmp_path, **{"sub.prog": SHOW, "pkg.__init__": "", "pkg.__main__": SHOW, "pkg.mod": SHOW}
    )
    # Its own name is its own, not the folder it happens to be found by.
    path = {"PYTHONPATH": support.python_path()}
    plain = tell(tmp_path, *target, *arguments, **path)
    under = tell(tmp_path, "-m", "earlyfork", "run", *target, *arguments, **path)
    assert under == plain


def test_run_gives_a_template_to_a_program_that_has_none(tmp_path: Path) -> None:
    write_files(tmp_path, lib=IMPORT, prog="import lib\n" + TELL)
    for target in (["prog.py"], ["-m", "prog"]):
        answer = tell(tmp_path, "-m", "earlyfork", "run", *target)
        assert answer == "True | the main program imported earlyfork while it had one thread\n"


@pytest.mark.parametrize(
    ("source", "status", "last"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('words')", 1, "words"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("def (", 1, "SyntaxError"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import os; os._exit(9)", 9, ""),
    ],
)
def test_run_passes_the_end_through(tmp_path: Path, source: str, status: int, last: str) -> None:
    write_files(tmp_path, prog=source + "\n")
    for target in (["prog.py"], ["-m", "prog"]):
        command = [sys.executable, "-m", "earlyfork", "run", *target]
        done = run_command(command, directory=tmp_path)
        assert done.returncode == status, done.stderr
        assert (done.stderr.splitlines() or [""])[-1].startswith(last)
        if "Traceback" in done.stderr and "division" in last:
            assert re.search(r'prog\.py", line 1, in <module>', done.stderr)


def test_run_keeps_main_for_what_outlives_it(tmp_path: Path) -> None:
    """Threads and exit functions run on after the program's last line, and look there."""
    source = (
        "import atexit, sys, pickle\n"
        "def late():\n    print(sys.modules['__main__'].__dict__.get('VALUE'), flush=True)\n"
        "VALUE = 'still there'\n"
        "atexit.register(late)\n"
    )
    write_files(tmp_path, prog=source)
    for target in (["prog.py"], ["-m", "prog"]):
        answer = tell(tmp_path, "-m", "earlyfork", "run", *target)
        assert answer == "still there\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "missing.py"], "missing.py"),
        (["run", "-m", "no_such_module_here"], "No module named"),
        ([], "earlyfork"),
        (["run"], "earlyfork"),
    ],
)
def test_run_refuses_what_it_cannot_run(tmp_path: Path, words: list[str], text: str) -> None:
    done = run_command([sys.executable, "-m", "earlyfork", *words], directory=tmp_path)
    assert done.returncode
    assert text in done.stderr
    assert "Traceback" not in done.stderr
