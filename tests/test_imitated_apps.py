"""Frozen apps without a freezer: scripts that set what one sets, and are their own binary.

tests/frozen builds real ones. These say what holds for any freezer, and what is said of each; and
they can be measured, which a built one can't.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING

import pytest

import support
from support import output_of

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support import Run

#: What stands above the first line of an app, in place of what its bootloader has done.
CX_FREEZE = "sys.frozen = True"
ONE_FILE = "sys.frozen = True; sys._MEIPASS = os.path.dirname(APP) + '/_MEI123'"
ONE_DIRECTORY = "sys.frozen = True; sys._MEIPASS = os.path.dirname(APP) + '/_internal'"
NUITKA = "__compiled__ = type('compiled', (), {'process_exe': APP})"


@pytest.fixture
def run_app(tmp_path: Path, run_script: Run) -> Run:
    """Run the app that a freezer would have made of some source; its binary is `app`."""
    app = tmp_path / "app"
    inside = f'PYTHONPATH="{support.python_path(tmp_path)}"'  # as a real one has its modules
    app.write_text(f'#!/bin/sh\n{inside} exec "{sys.executable}" "{tmp_path}/main_program.py"\n')
    app.chmod(0o755)

    def run(
        freezer: str, source: str, first: str = "import earlyfork", **options: object
    ) -> subprocess.CompletedProcess[str]:
        begin = f"import os, sys; APP = {str(app)!r}; sys.executable = APP\n{freezer}\n{first}\n"
        env = {"PYTHONPATH": support.python_path(), **dict(options.pop("env", {}))}  # type: ignore[call-overload]
        return run_script(begin + textwrap.dedent(source), **{"check": True, "env": env, **options})

    return run


@pytest.mark.parametrize("freezer", [CX_FREEZE, ONE_FILE, ONE_DIRECTORY, NUITKA])
def test_an_app_is_run_again_for_a_process(run_app: Run, freezer: str) -> None:
    done = run_app(
        freezer,
        """
        import work
        print("the app runs")
        assert earlyfork.status().interpreter == f"{APP} (the frozen app's own binary)"
        for make in (earlyfork.new, earlyfork.new_exec):
            process = make().send_arg("x")
            assert work.got(process.run(work.echo)) == ("x",)
            assert process.wait(10) == 0
        root = earlyfork.new().ready(10)
        assert root.origin == "exec"
        """,
        env={"EARLYFORK": "0"},
    )
    assert output_of(done) == "the app runs\n"  # once


@pytest.mark.parametrize(
    ("freezer", "kind"),
    [
        (CX_FREEZE, "cx_Freeze or the like (sys.frozen is set)"),
        (ONE_FILE.replace("os.path.dirname(APP)", "'/tmp'"), "PyInstaller, one file"),
        (ONE_DIRECTORY, "PyInstaller, one directory"),
        (NUITKA, "Nuitka"),
    ],
)
def test_the_doctor_knows_the_freezer(run_app: Run, freezer: str, kind: str) -> None:
    done = run_app(
        freezer,
        """
        from earlyfork import doctor
        found = doctor.report()
        assert found.health == doctor.HEALTHY, found
        assert found.chosen == f"{APP} (the frozen app's own binary)"
        assert found.others
        assert {why for _, _, why in found.others} >= {"this is a frozen app"}, found.others
        print(found.program["frozen"])
        """,
    )
    assert done.stdout == f"{kind}\n"


@pytest.mark.parametrize(
    ("freezer", "option"),
    [
        (CX_FREEZE, "its freezer's option for that (cx_Freeze: --includes=nowhere)"),
        (ONE_FILE, "--hidden-import=nowhere"),
    ],
)
def test_a_module_that_was_not_collected(run_app: Run, freezer: str, option: str) -> None:
    """The error says how it gets into the app, whichever way the process came about."""
    done = run_app(
        freezer,
        """
        for process in (earlyfork.new(), earlyfork.new_exec(executable=APP)):
            process.require("nowhere")
            assert process.wait(10) == 1
            print(str(process.error).splitlines()[-1])
        """,
    )
    line = f"(nowhere is not in this frozen app; build it with {option}.)\n"
    assert done.stdout == line * 2


def test_nuitka_without_the_name_of_its_binary(run_app: Run) -> None:
    """Older ones don't tell: the kernel does."""
    done = run_app(
        "__compiled__ = type('compiled', (), {})",
        "print(earlyfork.status().interpreter)",
    )
    running = os.path.realpath(sys.executable)
    assert done.stdout == f"{running} (the frozen app's own binary)\n"


def test_an_app_that_would_run_a_second_time_is_not_launched(run_app: Run, tmp_path: Path) -> None:
    """Its main program does not begin with the import: the marker would come too late."""
    (tmp_path / "lib.py").write_text("import earlyfork\n")
    done = run_app(
        CX_FREEZE,
        """
        try:
            lib.earlyfork.new()
        except lib.earlyfork.EarlyForkError as error:
            print(error)
        """,
        first="import lib",
        env={"PYTHONPATH": support.python_path(tmp_path)},
    )
    assert done.stdout.startswith("this frozen app can't launch itself: its main program neither")


def test_an_interpreter_beside_an_app(run_app: Run) -> None:
    """A real Python is launched by an app with arguments, as by any other program."""
    done = run_app(
        CX_FREEZE,
        f"""
        process = earlyfork.new_exec(executable={sys.executable!r})
        process.eval("import sys; sys.exit(getattr(sys, 'frozen', 7))")
        assert process.wait(10) == 7
        try:
            earlyfork.new_exec(executable="/no/such/binary")
        except earlyfork.LaunchError as error:
            print(error)
        """,
    )
    assert done.stdout.startswith("/no/such/binary (executable= of this call) can't be executed")


# -- PyInstaller's environment ---------------------------------------------------------------------


def test_commands_see_the_library_path_of_before(run_app: Run, tmp_path: Path) -> None:
    home = str(tmp_path / "_MEI123")
    source = """
    import json
    chosen = {"LD_LIBRARY_PATH": "/mine", "LD_LIBRARY_PATH_ORIG": "/before", "X": "1"}
    print(json.dumps([
        {k: v for k, v in earlyfork.command_environment().items()
         if k.startswith(("LD_", "_PYI_"))},
        earlyfork.command_environment(chosen),
        earlyfork.command_environment({"LD_LIBRARY_PATH": sys._MEIPASS}),
    ]))
    """
    env = {
        "_PYI_ARCHIVE_FILE": "app",
        "LD_LIBRARY_PATH": home,
        "LD_LIBRARY_PATH_ORIG": "/before",
    }
    done = run_app(ONE_FILE, source, env=env)
    now, chosen, bare = json.loads(done.stdout)
    assert now == {"LD_LIBRARY_PATH": "/before"}
    assert chosen == {"LD_LIBRARY_PATH": "/mine", "X": "1"}
    assert bare == {}


def test_in_other_programs_an_environment_is_copied(run_script: Run) -> None:
    run_script(
        """
        import earlyfork, os
        env = earlyfork.command_environment()
        assert env == dict(os.environ) and env is not os.environ
        assert earlyfork.command_environment({"_PYI_X": "1"}) == {"_PYI_X": "1"}
        """,
        check=True,
    )


def test_a_launched_one_file_app_finds_its_files_again(run_app: Run) -> None:
    """Whatever `env` says; its variables are not warned of, since the user did not change them."""
    done = run_app(
        ONE_FILE,
        """
        import work
        process = earlyfork.new_exec(executable=APP, env={"ONLY": "this"})
        there = work.got(process.run(work.environment))
        assert process.wait(10) == 0
        there.pop("LC_CTYPE", None)  # PEP 538: set by the interpreter, which an app is without
        assert there == {"ONLY": "this"}, there
        """,
        env={"_PYI_ARCHIVE_FILE": "app", "LD_LIBRARY_PATH": "/nowhere"},
    )
    assert done.stderr == ""


def test_a_template_with_a_directory_of_its_own(run_app: Run) -> None:
    """Its bootloader removes that when it ends: it stays as long as a process of it lives."""
    done = run_app(
        ONE_FILE,
        support.program("imitated_apps/own_directory.py"),
        env={"EARLYFORK": "0"},
    )
    assert output_of(done) == "removed last\n"


# -- the marker ------------------------------------------------------------------------------------

TELLS = """
import earlyfork
import json
import os
assert "EARLYFORK_SERVE" not in os.environ
print("the app runs", earlyfork.status().early)
"""


def started_with(marker: str, run_script: Run, *fds: int) -> str:
    """What the app says on stderr that is started with this marker; it must run all the same."""
    done = run_script(TELLS, check=True, env={"EARLYFORK_SERVE": marker}, pass_fds=fds)
    assert done.stdout == "the app runs True\n"
    return done.stderr


@pytest.mark.parametrize("marker", ["", "1", "1:2", "a:b:c", "1:2:3:4", "::", "/own", "-1:x:/own"])
def test_a_malformed_marker_is_ignored(run_script: Run, marker: str) -> None:
    said = started_with(marker, run_script)
    assert "EarlyForkWarning: the environment variable EARLYFORK_SERVE is ignored" in said
    assert "it is malformed" in said


def test_a_marker_that_names_no_socket_is_ignored(run_script: Run) -> None:
    assert "fd 99 is no open socket" in started_with("99:99:1", run_script)
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        assert f"fd {fd} is no open socket" in started_with(f"{fd}:{fd}:1", run_script, fd)


def test_a_marker_that_names_another_kind_of_socket_is_ignored(run_script: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        fd = server.fileno()
        assert f"fd {fd} is no unix socket" in started_with(f"{fd}:{fd}:1", run_script, fd)
    with socket.socket(socket.AF_UNIX) as alone:
        fd = alone.fileno()
        said = started_with(f"{fd}:{fd}:1", run_script, fd)
        assert f"the other end of fd {fd} can't be told" in said


def test_a_marker_of_another_process_is_ignored(run_script: Run) -> None:
    near, far = socket.socketpair()
    with near, far:
        fd, me = far.fileno(), os.getpid()
        said = started_with(f"{fd}:{fd}:{me + 1}", run_script, fd)
        assert f"fd {fd} comes from process {me}, not {me + 1}" in said


@pytest.mark.root
@pytest.mark.parametrize(
    ("dumpable", "doubt"),
    [
        (1, r"fd \d+ comes from user 0\b"),
        (0, "this process has rights that its caller may not have"),  # it may not even look
    ],
)
def test_a_marker_of_another_user_is_ignored(run_script: Run, dumpable: int, doubt: str) -> None:
    done = run_script(
        f"""
        import earlyfork
        from earlyfork._ground import errors, frozen, marker, stack  # while they can be read
        import ctypes, os, socket, warnings
        near, far = socket.socketpair()
        fd = far.fileno()
        os.environ["EARLYFORK_SERVE"] = f"{{fd}}:{{fd}}:{{os.getpid()}}"
        os.setresuid(65534, 65534, 0)
        ctypes.CDLL(None).prctl(4, {dumpable}, 0, 0, 0)  # PR_SET_DUMPABLE: as after exec
        try:
            assert marker.take() is None
        finally:
            os.setresuid(0, 0, 0)
        """,
        check=True,
    )
    assert re.search(f"is ignored: {doubt}", done.stderr)


@pytest.mark.root
@pytest.mark.parametrize("ids", ["os.setresuid(65534, -1, -1)", "os.setresgid(65534, -1, -1)"])
def test_a_program_with_more_rights_than_its_caller(run_app: Run, ids: str) -> None:
    """It obeys no marker, since anybody could have set it, and so it can't be launched again."""
    done = run_app(
        f"{CX_FREEZE}; {ids}; os.environ.setdefault('EARLYFORK_SERVE', '1:2:3')",
        """
        print(earlyfork.status().early)
        try:
            earlyfork.new_exec(executable=APP)
        except earlyfork.EarlyForkError as error:
            print(error)
        """,
    )
    first, second = done.stdout.splitlines()
    assert first == "True"
    assert second.startswith("a setuid app can't launch itself")
    assert "this process has rights that its caller may not have" in done.stderr


# -- multiprocessing in an app ---------------------------------------------------------------------


@pytest.mark.parametrize("early", [None, "0"])
def test_multiprocessing_has_no_second_run_of_the_binary(run_app: Run, early: str | None) -> None:
    """Its resource tracker is a process of earlyfork's; workers find main's code without a file."""
    done = run_app(
        ONE_FILE,
        """
        import earlyfork.mp, multiprocessing.resource_tracker, support
        _pyi_main_co = compile("def double(q, n): q.put((n * 2, __name__))", "main.py", "exec")
        exec(_pyi_main_co)
        context = multiprocessing.get_context("earlyfork")
        lock, q = context.Lock(), context.SimpleQueue()  # the tracker is told of these
        worker = context.Process(target=double, args=(q, 21))
        worker.start()
        print(*q.get())
        worker.join()
        tracker = multiprocessing.resource_tracker._resource_tracker._pid
        print(worker.exitcode, support.comm(tracker))
        """,
        env={"EARLYFORK": early},
    )
    assert output_of(done) == "42 __mp_main__\n0 earlyfork.mp.ch\n", done
