"""`python -m earlyfork run`: a program runs as without it, but with an early template."""

from __future__ import annotations

import os
import py_compile
import re
import signal
import sys
import zipfile
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
@pytest.mark.parametrize(
    "target", [["sub/prog.py"], ["-m", "pkg"], ["-m", "pkg.mod"], ["pkg"], ["app.zip"]], ids=str
)
def test_run_is_as_without_it(tmp_path: Path, target: list[str], arguments: list[str]) -> None:
    write_files(
        tmp_path, **{"sub.prog": SHOW, "pkg.__init__": "", "pkg.__main__": SHOW, "pkg.mod": SHOW}
    )
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", SHOW)
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


ENDS = {
    "raises": "def f():\n    1 / 0\nf()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('x') from e\n",
    "does not compile": "x = (\n",
    "import fails": "import not_there_at_all\n",
    "group": "def g():\n    raise ExceptionGroup('g', [ValueError(1)])\ng()\n",
    "hook": "import sys, traceback\n"
    "sys.excepthook = lambda kind, value, tb: traceback.print_exception(value)\n"
    "raise OSError(1, 'x')\n",
    "in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\n"
    "t.start()\nt.join()\n",
    "at exit": "import atexit\n@atexit.register\ndef f():\n    1 / 0\n",
    "interrupted": "def f():\n    raise KeyboardInterrupt\nf()\n",
}
#: The command line of a program in each form that Python knows; those of `-m` show runpy's frames.
FORMS = {
    "script": ["prog.py"],
    "no option": ["--", "prog.py"],
    "compiled": ["prog.pyc"],
    "folder": ["app"],
    "archive": ["app.zip"],
    "code": ["-c", "exec(compile(open('prog.py').read(), 'prog.py', 'exec'))"],
    "stdin": ["-"],
    "module": ["-m", "prog"],
    "module in one word": ["-mprog"],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ENDS)
def test_run_shows_no_frame_of_ours(tmp_path: Path, form: str, end: str) -> None:
    """What is printed, and the status, are as without it, but for runpy's frames."""
    if sys.version_info < (3, 11) and end == "group":
        pytest.skip("exception groups are younger")
    write_files(tmp_path, prog=ENDS[end], **{"app.__main__": ENDS[end]})
    py_compile.compile(str(tmp_path / "prog.py"), str(tmp_path / "prog.pyc"), doraise=False)
    if form == "compiled" and not (tmp_path / "prog.pyc").exists():
        pytest.skip("there is nothing compiled of what does not compile")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", ENDS[end])
    text = ENDS[end] if form == "stdin" else ""
    plain, ours = (
        run_command([sys.executable, *words, *FORMS[form]], directory=tmp_path, stdin_text=text)
        for words in ((), ("-m", "earlyfork", "run"))
    )
    runpy = re.compile(
        r'[ |]*File "(?:<frozen runpy>|[^"]*/runpy\.py)".*\n(?:[ |]{4,}(?!File )\S.*\n)?'
    )
    assert (ours.returncode, ours.stdout) == (plain.returncode, plain.stdout)
    assert "earlyfork" not in ours.stderr
    assert "runpy" not in ours.stderr
    theirs = runpy.sub("", plain.stderr)
    assert re.sub("0x[0-9a-f]+", "", ours.stderr) == re.sub("0x[0-9a-f]+", "", theirs)


def test_run_of_code_and_stdin_has_their_arguments(tmp_path: Path) -> None:
    source = "import sys; print(sys.argv, sys.path[0], __name__, '__file__' in globals())"
    for words, text in ((["-c", source], ""), (["-c" + source], ""), (["-"], source)):
        plain, ours = (
            run_command(
                [sys.executable, *before, *words, "a", "--", "-b"],
                directory=tmp_path,
                stdin_text=text,
                check=True,
            )
            for before in ((), ("-m", "earlyfork", "run"))
        )
        assert ours.stdout == plain.stdout


@pytest.mark.parametrize("flag", ["-P", "-I"])
def test_run_leaves_a_safe_path_alone(tmp_path: Path, flag: str) -> None:
    if flag == "-P" and sys.version_info < (3, 11):
        pytest.skip("-P is younger")
    write_files(tmp_path, prog="import sys; print(sys.path)")
    for words in (["prog.py"], ["-c", "import sys; print(sys.path)"]):
        plain, ours = (
            run_command([sys.executable, flag, *before, *words], directory=tmp_path, check=True)
            for before in ((), ("-m", "earlyfork", "run"))
        )
        assert ours.stdout == plain.stdout


def test_run_finds_console_scripts_as_a_shell_does(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    long = "#!/bin/sh\n'''exec' \"/a long path/python\" \"$0\" \"$@\"\n' '''\n"
    for name, head in (
        ("tool", "#!/usr/bin/env python3\n"),
        ("far", long),
        ("other", "#!/bin/sh\n"),
    ):
        path = tmp_path / "bin" / name
        path.write_text(head + "import earlyfork, sys; print(sys.argv, earlyfork.status().early)\n")
        path.chmod(0o755)
    (tmp_path / "bin" / "no-command").write_text("print()\n")
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "earlyfork", "run"]
    for name in ("tool", "far"):
        done = run_command([*command, name, "-x"], directory=tmp_path, env=env, check=True)
        assert done.stdout == f"['{tmp_path}/bin/{name}', '-x'] True\n"
    done = run_command([*command, "other"], directory=tmp_path, env=env)
    assert (done.returncode, "is no Python program" in done.stderr) == (2, True)
    done = run_command([*command, "no-command"], directory=tmp_path, env=env)
    assert (done.returncode, "can't open file" in done.stderr) == (2, True)


def test_run_loads_nothing_for_other_commands(tmp_path: Path) -> None:
    write_files(tmp_path, prog="import sys; print(*sys.modules)")
    with_run = tell(tmp_path, "-m", "earlyfork", "run", "prog.py").split()
    without = tell(tmp_path, "-m", "prog").split()
    ours = {name for name in with_run if name.startswith("earlyfork")}
    assert set(with_run) - set(without) == ours
    assert len(ours) <= 6, ours  # what a first line loads, who asked, and `run`


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "missing.py"], "missing.py"),
        (["run", "-m", "no_such_module_here"], "No module named"),
        ([], "doctor"),
        (["run"], "a script, or -m and a module, is needed"),
        (["run", "--"], "a script, or -m and a module, is needed"),
        (["run", "-m"], "a module is needed"),
        (["run", "-c"], "code is needed"),
        (["run", "-u", "prog.py"], "say python -u -m earlyfork run"),
        (["run", "-Wignore", "prog.py"], "-Wignore is an option of Python's"),
        (["nosuch"], "invalid choice"),
    ],
)
def test_run_refuses_what_it_cannot_run(tmp_path: Path, words: list[str], text: str) -> None:
    done = run_command([sys.executable, "-m", "earlyfork", *words], directory=tmp_path)
    assert done.returncode
    assert text in done.stderr
    assert "Traceback" not in done.stderr
