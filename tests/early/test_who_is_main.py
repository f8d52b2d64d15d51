"""SEMANTICS, "Early": who gets an early template."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from early.shared import IMPORT, TELL, tell

import support
from support import output_of, run_command, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run


MAIN_PROGRAMS = {
    "script": ({"prog": IMPORT + TELL}, ["prog.py"]),
    "command": ({}, ["-c", IMPORT + TELL]),
    "package that imports it in __init__": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL.replace(IMPORT, "")},
        ["-m", "pkg"],
    ),
    "package that imports it in __main__": (
        {"pkg.__init__": "", "pkg.__main__": IMPORT + TELL},
        ["-m", "pkg"],
    ),
    "package whose __main__ imports the part that does": (
        {"pkg.__init__": "", "pkg.cli": IMPORT + TELL, "pkg.__main__": "import pkg.cli"},
        ["-m", "pkg"],
    ),
    "package whose __init__ imports the part that does": (
        {"pkg.__init__": "from pkg import first", "pkg.first": IMPORT, "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "module of a package whose __init__ imports it": (
        {"pkg.__init__": IMPORT, "pkg.tool": TELL},
        ["-m", "pkg.tool"],
    ),
    "module": ({"mod": IMPORT + TELL}, ["-m", "mod"]),
    "module, flags in one word": ({"pkg.__init__": IMPORT, "pkg.__main__": TELL}, ["-Bmpkg"]),
    "module after options with values": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL},
        ["-W", "error", "-X", "utf8", "-m", "pkg"],
    ),
    "module after an option with a long name": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL},
        ["-B", "--check-hash-based-pycs", "always", "-m", "pkg"],
    ),
    "directory": ({"app.__main__": IMPORT + TELL}, ["app"]),
    "function of the main program": ({"prog": f"def f():\n    {IMPORT}f()\n" + TELL}, ["prog.py"]),
}


LIBRARIES = {
    "library of a script": ({"lib": IMPORT, "prog": "import lib\n" + TELL}, ["prog.py"]),
    "library of a package's __init__": (
        {"lib": IMPORT, "pkg.__init__": "import lib", "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "library of a package's __main__": (
        {"lib": IMPORT, "pkg.__init__": "", "pkg.__main__": "import lib\n" + TELL},
        ["-m", "pkg"],
    ),
    "library with a longer name": (
        {"pkgs.__init__": IMPORT, "pkg.__init__": "import pkgs", "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "library that imports it in a function": (
        {"lib": f"def f():\n    {IMPORT}", "prog": "import lib\nlib.f()\n" + TELL},
        ["prog.py"],
    ),
    "library of a library": (
        {"lib": "import inner", "inner": IMPORT, "prog": "import lib\n" + TELL},
        ["prog.py"],
    ),
    "library of a command": ({"lib": IMPORT}, ["-c", "import lib\n" + TELL]),
    "a part of the package, asked for by a library": (
        {
            "pkg.__init__": "import lib",
            "pkg.part": IMPORT,
            "lib": "import pkg.part",
            "pkg.__main__": TELL,
        },
        ["-m", "pkg"],
    ),
}


@pytest.mark.parametrize("case", MAIN_PROGRAMS)
def test_the_main_program_gets_a_template(case: str, tmp_path: Path) -> None:
    files, words = MAIN_PROGRAMS[case]
    answer = tell(write_files(tmp_path, **files), *words)
    assert answer == "True | the main program imported earlyfork while it had one thread\n"


@pytest.mark.parametrize("case", LIBRARIES)
def test_a_library_never_forks_its_host(case: str, tmp_path: Path) -> None:
    files, words = LIBRARIES[case]
    answer = tell(write_files(tmp_path, **files), *words)
    assert re.fullmatch(r"False \| it was imported by \S+, not by the main program\n", answer)


def test_a_library_of_a_program_on_stdin(tmp_path: Path) -> None:
    write_files(tmp_path, lib=IMPORT)
    done = support.run_script(
        f"""
        import subprocess, sys
        program = "import lib\\n" + {TELL!r}
        done = subprocess.run([sys.executable], input=program, text=True, capture_output=True)
        print(done.stdout + done.stderr)
        """,
        directory=tmp_path,
        env={"PYTHONPATH": support.python_path(tmp_path)},
    )
    assert done.stdout.startswith("False | it was imported by lib, not by the main program\n")


def test_a_thread_that_no_python_code_started(tmp_path: Path) -> None:
    """On its stack is nothing but the library: nobody can say that the main program asked."""
    write_files(
        tmp_path,
        lib=f"def f():\n    {IMPORT}    go.release()\n",
        prog="import _thread, lib\nlib.go = _thread.allocate_lock(); lib.go.acquire()\n"
        "_thread.start_new_thread(lib.f, ())\nlib.go.acquire()\n" + TELL,
    )
    answer = tell(tmp_path, "prog.py")
    assert answer == "False | it was imported by lib, not by the main program\n"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare venv, for scripts that an installer would put there."""
    folder = tmp_path_factory.mktemp("venv")
    run_command([sys.executable, "-m", "venv", "--without-pip", "--symlinks", folder], check=True)
    return folder


@pytest.mark.parametrize(
    ("files", "early"),
    [
        ({"app.__init__": IMPORT, "app.cli": "def main():\n    " + TELL}, True),
        ({"app.__init__": "", "app.cli": IMPORT + "def main():\n    " + TELL}, True),
        ({"app.__init__": "", "app.cli": "import lib\ndef main():\n    " + TELL}, False),
    ],
    ids=["in __init__", "in a module", "in a library"],
)
def test_console_script(
    venv: Path,
    tmp_path: Path,
    files: dict[str, str],
    early: bool,
) -> None:
    write_files(tmp_path, lib=IMPORT, **files)
    name = f"app-{tmp_path.name}"
    script = venv / "bin" / name
    script.write_text(
        f"#!{venv}/bin/python\nimport sys\nfrom app.cli import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    script.chmod(0o755)
    answer = output_of(
        run_command([script], directory=tmp_path, env={"PYTHONPATH": support.python_path(tmp_path)})
    )
    assert answer.startswith(f"{early} |")


def test_bare_interpreter(tmp_path: Path) -> None:
    """Without site, isolated: what site has loaded elsewhere is missing."""
    write_files(
        tmp_path,
        prog=f"import sys; sys.path.insert(0, {str(support.home_of_earlyfork())!r})\n"
        "import earlyfork\n"
        "p = earlyfork.new().eval('import sys; assert sys.flags.isolated and sys.flags.no_site')\n"
        "s = p.run('builtins.print')\n"
        "assert p.wait(10) == 0\n"
        "print(earlyfork.status().early)\n",
    )
    answer = tell(tmp_path, "-I", "-S", "prog.py")
    assert re.fullmatch(r"<socket.socket .*>\nTrue\n", answer)


def test_forbidden_by_the_environment(tmp_path: Path) -> None:
    write_files(tmp_path, prog=IMPORT + TELL)
    answer = tell(tmp_path, "prog.py", EARLYFORK="0")
    assert answer == "False | EARLYFORK=0 forbids it\n"


def test_ordered_by_the_environment(tmp_path: Path) -> None:
    write_files(tmp_path, lib=IMPORT, prog="import lib\n" + TELL)
    assert tell(tmp_path, "prog.py", EARLYFORK="1").startswith("True |")


# -- beside multiprocessing ----------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [None, "1"])
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing_make_no_templates(
    run_program: Run, method: str, ordered: str | None
) -> None:
    """Each of them runs the main program's first line again, or is a helper of theirs."""
    done = run_program(
        "early/multiprocessing_children.py", method, env={"EARLYFORK": ordered}, timeout=40
    )
    shared = method == "fork"  # those share their parent's
    assert done.stdout == f"1 [{shared}, {shared}]\n"


def test_a_multiprocessing_child_can_make_processes(run_program: Run) -> None:
    done = run_program("early/multiprocessing_child_makes_one.py")
    assert output_of(done) == "True\n"


def test_what_a_freezer_runs_for_multiprocessing_gets_none(tmp_path: Path) -> None:
    write_files(tmp_path, prog=IMPORT + TELL)
    answer = tell(tmp_path, "prog.py", "--multiprocessing-fork", "pipe_handle=7")
    assert answer == "False | this process belongs to multiprocessing\n"
