"""`python -m earlyfork`: what the doctor says of healthy, degraded and broken programs; `run`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import support
from support import output_of, run_command

if TYPE_CHECKING:
    import subprocess

    from support import Run


def command_line(
    *words: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m earlyfork` with some words."""
    command = [sys.executable, "-m", "earlyfork", *words]
    return run_command(command, directory=cwd, env=env, timeout=support.PATIENCE * 3)


def examined(cwd: Path, *words: str, **env: str) -> tuple[int, dict[str, Any]]:
    """The doctor's exit status, and what it says to machines."""
    done = command_line("doctor", "--json", *words, cwd=cwd, env=env)
    return done.returncode, json.loads(done.stdout)


def executable(text: str, place: Path) -> str:
    path = place / "python-imposter"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# --- doctor ---------------------------------------------------------------------------------


def test_healthy(tmp_path: Path) -> None:
    status, found = examined(tmp_path)
    assert (status, found["health"], found["problems"]) == (0, 0, [])
    assert found["early"] is True
    assert found["chosen"].startswith(sys.executable)
    assert found["launch"]["works"] is True
    assert 0 < found["launch"]["seconds"] < support.PATIENCE
    assert found["program"]["frozen"] == "no"
    assert all(other["why_not"] for other in found["others"])
    assert sys.executable not in [other["path"] for other in found["others"]]


def test_page_for_people(tmp_path: Path) -> None:
    done = command_line("doctor", cwd=tmp_path)
    page = output_of(done)
    assert page.startswith("earlyfork is healthy here\n")
    for words in ("early template: yes", "a launch:       works, ", "sys.orig_argv: "):
        assert words in page


def test_launch_that_fails_is_broken_without_an_early_template(tmp_path: Path) -> None:
    python = executable("exit 3", tmp_path)
    status, found = examined(tmp_path, EARLYFORK="0", EARLYFORK_PYTHON=python)
    assert (status, found["health"], found["early"]) == (2, 2, False)
    assert found["launch"]["works"] is False
    assert python in found["problems"][0]


def test_launch_that_fails_is_degraded_with_one(tmp_path: Path) -> None:
    python = executable("exit 3", tmp_path)
    status, found = examined(tmp_path, EARLYFORK_PYTHON=python)
    assert (status, found["health"], found["early"]) == (1, 1, True)


def test_launch_that_says_nothing_is_given_up_and_killed(tmp_path: Path) -> None:
    python = executable("exec sleep 1000", tmp_path)
    status, found = examined(
        tmp_path, "--timeout", "0.3", EARLYFORK="0", EARLYFORK_PYTHON=python
    )  # the fixture sees that nothing stays
    assert status == 2
    assert "did not answer within 0.3 s" in found["problems"][0]
    assert found["launch"]["seconds"] >= 0.3


def test_sees_what_a_fork_would_leak(run_script: Run) -> None:
    done = run_script(
        """
        import os, socket, sys, threading
        threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
        listening = socket.create_server(("127.0.0.1", 0))
        file = open(sys.argv[0])
        os.set_inheritable(file.fileno(), True)
        import earlyfork
        from earlyfork import doctor
        template = earlyfork.new().ready()
        found = doctor.report()
        print(found.health, found.early, found.threads)
        print(*found.fds, sep="\\n")
        print(found)
        """,
        "quiet",
        flags=("-Wignore",),
    )
    said = output_of(done)
    health, *fds = said.partition("earlyfork is degraded here")[0].splitlines()
    assert health == "1 False ('poller',)"
    assert any("listening AF_INET socket ('127.0.0.1', " in line for line in fds)
    assert any(line.endswith("main_program.py, inherited by every command") for line in fds)
    assert len([line for line in fds if "AF_UNIX" in line]) == 0  # its own are not listed
    assert "no early template: other threads run already (poller)" in said


def test_a_library_without_early_template_is_no_illness(run_script: Run) -> None:
    done = run_script(
        """
        import sys
        namespace = {"__name__": "some_library"}
        exec("from earlyfork import doctor", namespace)
        found = namespace["doctor"].report()
        print(found.health, found.early, found.launch.works, found.problems)
        """
    )
    assert output_of(done) == "0 False True ()\n"


def on_terminal(cwd: Path, **env: str) -> str:
    """What the doctor shows on a terminal."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "earlyfork", "doctor"]
    page = b""
    with (
        support.start_command(command, directory=cwd, env=env, stdout=theirs) as process,
        open(ours, "rb") as terminal,
    ):
        os.close(theirs)
        with contextlib.suppress(OSError):  # EIO: the end
            while more := terminal.read1(65536):
                page += more
        process.wait(support.PATIENCE)
    return page.decode()


def test_colours_on_a_terminal_only(tmp_path: Path) -> None:
    page = on_terminal(tmp_path, TERM="xterm")
    assert page.startswith("\x1b[1;32mearlyfork is healthy here\x1b[0m\r\n")
    assert "\x1b[1mearly template:\x1b[0m yes" in page
    python = executable("exit 3", tmp_path)
    assert "\x1b[33m  ! " in on_terminal(tmp_path, TERM="xterm", EARLYFORK_PYTHON=python)
    for env in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b[" not in on_terminal(tmp_path, **env)
    assert "\x1b[" not in command_line("doctor", cwd=tmp_path, env={"TERM": "xterm"}).stdout


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_doctor_who_falls_ill_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Whatever goes wrong in an examination is a finding, and no traceback."""
    (tmp_path / "usercustomize.py").write_text("")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.abc import MetaPathFinder\n"
        "class Broken(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'earlyfork.doctor':\n"
        "            raise RuntimeError('no such luck')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    path = f"{tmp_path}:{support.python_path()}"
    done = command_line("doctor", *words, cwd=tmp_path, env={"PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (2, "")
    assert "RuntimeError: no such luck" in done.stdout
    if words:
        assert json.loads(done.stdout)["health"] == 2


def test_a_reader_who_leaves_early(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m earlyfork doctor | true; echo "${{PIPESTATUS[0]}}"'
    done = support.run_command(["bash", "-c", command], directory=tmp_path)
    assert done.stderr == ""
    assert done.stdout in ("0\n", "1\n")


def test_says_whether_the_part_in_c_is_used(tmp_path: Path) -> None:
    _, found = examined(tmp_path, EARLYFORK_PURE="1")
    assert found["part_in_c"] == "no: EARLYFORK_PURE is set"
    assert found["health"] == 0  # who says so knows it
    copy = tmp_path / "copy" / "earlyfork"
    shutil.copytree(Path(earlyfork_folder()), copy, ignore=shutil.ignore_patterns("*.so"))
    path = {"PYTHONPATH": str(copy.parent)}
    status, found = examined(tmp_path, **path)
    assert found["part_in_c"].startswith(
        ("no: it was not built", "no: there is none for", "no: it is")
    )
    if "not built" in found["part_in_c"]:
        assert (status, "less than half the rate" in found["problems"][0]) == (1, True)
        (copy / "_quick.cpython-399-x86_64-linux-gnu.so").write_bytes(b"")
        _, found = examined(tmp_path, **path)
        assert "_quick.cpython-399-x86_64-linux-gnu.so, for another interp" in found["part_in_c"]
        (copy / f"_quick{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library")
        status, found = examined(tmp_path, **path)
        assert status == 1
        assert "_quick" in found["part_in_c"]  # in the words of the loader


def test_status_says_whether_the_part_in_c_is_used(run_script: Run) -> None:
    source = "import earlyfork; print(earlyfork.status())"
    done = run_script(source, env={"EARLYFORK_PURE": "1"}, check=True)
    assert "\npart in C:      no: EARLYFORK_PURE is set\n" in done.stdout


def earlyfork_folder() -> str:
    found = importlib.util.find_spec("earlyfork")
    assert found is not None
    assert found.submodule_search_locations
    return found.submodule_search_locations[0]


def test_another_python_is_told_in_a_line(tmp_path: Path, run_script: Run) -> None:
    """As seen with PyPy 8.0; here, CPython says that it is another one."""
    line = "earlyfork is for CPython: pypy can't freeze its garbage collector before a fork"
    done = run_script(
        """
        import sys
        sys.implementation.name = "pypy"
        import earlyfork
        print(earlyfork.__version__)
        try:
            from earlyfork import new
        except ImportError as error:
            print(error)
        """,
        check=True,
    )
    assert f"EarlyForkWarning: {line}" in done.stderr
    assert done.stdout.splitlines()[1].startswith(line)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.implementation.name = 'pypy'\n")
    path = f"{tmp_path}:{support.python_path()}"
    done = command_line("doctor", cwd=tmp_path, env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stdout.startswith("earlyfork is broken here\n  ! ")
    assert line in done.stdout
    assert "Traceback" not in done.stderr


# --- the console script ---------------------------------------------------------------------


def test_the_console_script(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "earlyfork"
    if not script.exists():
        pytest.skip("the package is not installed with its script")
    for word in ("-V", "--version"):
        assert output_of(run_command([script, word])) == f"earlyfork {earlyfork_version()}\n"
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run_command([script, "run", "program.py", "-h"], directory=tmp_path)
    assert (done.returncode, done.stdout) == (7, "__main__ ['-h'] True\n")
    done = run_command([script], directory=tmp_path)
    assert (done.returncode, done.stderr.startswith("usage: earlyfork ")) == (2, True)
    done = run_command([script, "doctor", "--json"], directory=tmp_path)
    assert json.loads(done.stdout)["early"] is True


def earlyfork_version() -> str:
    return importlib.metadata.version("earlyfork")


# --- run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nosuch", "nosuch.deeper", "json.nosuch", "json", "os.path.deeper"]
)
def test_no_such_module_is_told_as_python_tells_it(tmp_path: Path, name: str) -> None:
    ours = command_line("run", "-m", name, cwd=tmp_path)
    python = run_command([sys.executable, "-m", name], directory=tmp_path)
    assert (ours.returncode, ours.stdout, ours.stderr) == (1, "", python.stderr)
    assert len(ours.stderr.splitlines()) == 1


def test_no_such_script_is_one_line(tmp_path: Path) -> None:
    done = command_line("run", "nosuch.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "can't open file" in done.stderr


PROGRAM = """
import sys, earlyfork
print(__name__, sys.argv[1:], earlyfork.status().early)
sys.exit(7)
"""


@pytest.mark.parametrize("words", [["program.py"], ["-m", "program"]], ids=["script", "module"])
def test_options_after_the_target_are_the_program_s(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = ["-m", "x", "--json", "-h", "--", "-q"]
    done = command_line("run", *words, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"__main__ {arguments} True\n"


def test_error_of_a_module_s_own_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import not_there_at_all\n")
    done = command_line("run", "-m", "program", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'not_there_at_all'\n")


def test_no_interpreter_is_broken_or_degraded(run_script: Run) -> None:
    for early, words in (("0", "broken"), (None, "degraded")):
        done = run_script(
            """
            import earlyfork
            from earlyfork import doctor
            from earlyfork._origin import interpreter as _interpreter
            import os, sys, sysconfig
            sys.executable = sys._base_executable = ""
            sys.prefix = sys.base_prefix = sys.exec_prefix = sys.base_exec_prefix = "/nowhere"
            sysconfig.get_config_vars()["BINDIR"] = "/nowhere"
            os.environ["PATH"] = "/nowhere"
            print(doctor.report())
            """,
            env={"EARLYFORK": early},
            check=True,
        )
        assert done.stdout.startswith(f"earlyfork is {words} here\n  ! no interpreter: ")
        assert "would launch:   nothing\na launch:       FAILS after 0 ms\n" in done.stdout


def test_what_snapshots_inherited_is_a_risk(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork, os, socket
        near, far = os.pipe()
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        lone = socket.socket()
        from earlyfork.template import TEMPLATE
        from earlyfork import doctor
        print(doctor.report())
        """,
        check=True,
        flags=("-Wignore",),
    )
    assert "earlyfork is degraded here\n  ! snapshots inherited what may hurt" in done.stdout
    for words in (": pipe\n", ": AF_INET socket connected to ('127.0.0.1', ", ": AF_INET socket\n"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("site", "problem"),
    [
        ("sys.modules['json'] = None", "what was launched does not work: ModuleNotFoundError: "),
        (
            "import json; json.dumps = lambda facts: os._exit(0)",
            "what was launched does not work: it ended without a word",
        ),
        ("sys.version_info = (3, 99, 4)", "what is launched is Python 3.99.4, this is"),
        ("sys.version_info = (3, 9, 4)", "a launch fails: "),
        ("sys.prefix = '/other'", "what is launched lives in /other, this in "),
    ],
)
def test_a_launch_that_works_otherwise(tmp_path: Path, site: str, problem: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import os, sys\n{site}\n")
    wrapped = f'PYTHONPATH="{tmp_path}:$PYTHONPATH" exec "{sys.executable}" "$@"'
    python = executable(wrapped, tmp_path)
    done = command_line("doctor", cwd=tmp_path.parent, env={"EARLYFORK_PYTHON": python})
    assert f"  ! {problem}" in done.stdout, done.stdout + done.stderr
    assert ("earlyfork needs Python 3.10 or later" in done.stderr) == ("3, 9, 4" in site)
    assert done.returncode == 1


def test_a_slow_machine_and_an_impatient_user(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        from earlyfork import doctor
        print(doctor.report(timeout=0).problems[0])
        doctor.SLOW = 0
        print(doctor.report().problems[0])
        """,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first == "what was launched did not answer within 0 s"
    assert second.endswith("is the machine busy?")


def test_run_explains_itself(tmp_path: Path) -> None:
    for word in ("-h", "--help"):
        done = command_line("run", word, cwd=tmp_path)
        assert output_of(done).startswith("usage: python -m earlyfork run ")


def test_run_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "part.py").write_text("VALUE = 'part'\n")
    (tmp_path / "app" / "__main__.py").write_text(
        "import earlyfork, part, sys\n"
        "print(__name__, part.VALUE, sys.argv[1:], earlyfork.status().early)\n"
    )
    done = command_line("run", "app", "-x", cwd=tmp_path)
    assert output_of(done) == "__main__ part ['-x'] True\n"
