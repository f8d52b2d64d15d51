"""The line `import earlyfork`: what it loads, what may be in its way, and when it comes too late."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from early.shared import IMPORT, TELL, tell

import support
from support import output_of, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run


@pytest.mark.parametrize("pure", ["", "1"])
def test_it_loads_next_to_nothing(run_script: Run, pure: str) -> None:
    """What others may well import (`__future__`, `_socket`) is loaded when it is used."""
    done = run_script(
        """
        import sys; before = {*sys.modules}
        import earlyfork
        print(*sorted({*sys.modules} - before))
        """,
        check=True,
        env={"EARLYFORK_PURE": pure},
    )
    own = {"earlyfork", "earlyfork._early", "earlyfork._context"}
    if pure or not find_spec("earlyfork._quick"):
        own |= {"earlyfork._fork_free", "_socket", "_interpreters", "_xxsubinterpreters"}
    else:
        own |= {"earlyfork._quick"}
    assert {*done.stdout.split()} <= own
    assert "earlyfork._early" in done.stdout


def test_its_names_are_listed_before_they_are_loaded(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        assert set(earlyfork.__all__) <= set(dir(earlyfork))
        try:
            earlyfork.nothing
        except AttributeError as error:
            assert "'nothing'" in str(error)
        else:
            raise AssertionError
        """,
        check=True,
    )


def test_settings_that_mean_nothing_are_named(run_script: Run) -> None:
    done = run_script(
        "import earlyfork; print(earlyfork.status().early, earlyfork.new().standby)",
        check=True,
        env={"EARLYFORK": "yes", "EARLYFORK_STANDBY": "many"},
    )
    assert done.stdout == "True 2\n"
    assert "EARLYFORK=yes is ignored" in done.stderr
    assert "EARLYFORK_STANDBY=many is ignored" in done.stderr


def test_a_setting_of_the_number_of_standbys(run_script: Run) -> None:
    source = "import earlyfork; print(earlyfork.new().standby)"
    assert output_of(run_script(source, env={"EARLYFORK_STANDBY": "0"})) == "0\n"


# -- what is in its way --------------------------------------------------------------------------


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("where", ["everywhere", "but in main"])
def test_a_hook_that_forbids_to_fork(run_program: Run, pure: str, where: str) -> None:
    """There is one main program afterwards, with its signals and fds as they were."""
    done = run_program("early/forbids_to_fork.py", where, env={"EARLYFORK_PURE": pure})
    assert done.stdout == "True set()\n", done


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_handler_that_raises_right_after_the_fork(run_script: Run, pure: str) -> None:
    """SIGCHLD comes for the process between: the template that nobody has is none."""
    done = run_script(
        """
        import os, signal
        def handler(number, frame):
            raise InterruptedError("on purpose")
        signal.signal(signal.SIGCHLD, handler)
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            import earlyfork
        except InterruptedError:
            print("raised", sorted(os.listdir("/proc/self/fd")) == before)
        """,
        env={"EARLYFORK_PURE": pure},
    )
    assert done.stdout in ("raised True\n", ""), done  # handlers are called when Python likes


def test_a_program_that_ignores_its_children(run_script: Run) -> None:
    """SIGCHLD ignored: the kernel reaps, and nothing can be waited for."""
    done = run_script(
        """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        import earlyfork, work
        for make in (earlyfork.new, earlyfork.new_exec):
            process = make().send_arg("x")
            assert work.got(process.run(work.echo)) == ("x",)
            assert process.wait(10) == 0
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        print(earlyfork.status().early)
        """,
        check=True,
        env=support.with_work(),
    )
    assert done.stdout == "True\n"


def test_broken_streams_do_not_stop_it(run_program: Run, tmp_path: Path) -> None:
    """A closed one, and one whose reader is gone: what is in it is written by nobody twice."""
    run_program("early/broken_streams.py")
    assert (tmp_path / "early").read_text() == "True"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_streams_closed_at_the_start(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """No socket of ours lands on 0 to 2, in any process."""
    path = support.write_script(support.program("early/closed_streams.py"), tmp_path)
    redirects = " ".join(f"{fd}>&-" for fd in closed)
    words = [sys.executable, path, tmp_path / "log", "".join(map(str, closed))]
    support.run_command(
        ["bash", "-c", f'exec "$@" {redirects}', "bash", *words],
        env=support.with_work(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
    )
    assert (tmp_path / "log").read_text() == "good"


# -- too late ------------------------------------------------------------------------------------


def test_too_late_is_told_and_everything_works_by_exec(run_program: Run) -> None:
    done = run_program("early/too_late.py")
    assert done.stdout == "False\nworker\n"


def test_never_beside_a_thread_even_if_ordered(run_program: Run) -> None:
    done = run_program("early/too_late.py", env={"EARLYFORK": "1"})
    assert done.stdout == "False\nworker\n"


def test_a_library_that_comes_too_late_says_nothing(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        lib=IMPORT,
        prog="import threading\nevent = threading.Event()\n"
        "threading.Thread(target=event.wait).start()\nimport lib\nevent.set()\n" + TELL,
    )
    assert tell(tmp_path, "prog.py").startswith("False |")


@pytest.mark.parametrize("main", ["", "main too"])
@pytest.mark.parametrize("kind", ["isolated", "as C code makes it"])
def test_a_subinterpreter(run_program: Run, kind: str, main: str) -> None:
    """It forks nothing, says so once, and launches, unless it may not execute anything either."""
    done = run_program("early/subinterpreter.py", kind, main)
    refused = kind == "isolated" and sys.version_info < (3, 12)
    assert support.output_of(done) == ("refused True\n" if refused else "launched 3\n")
