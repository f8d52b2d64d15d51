"""SEMANTICS, "Template": the main program as a template of itself."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import support
from support import run_command, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run


def interpret(
    folder: Path, *words: str, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter; its streams must end with it."""
    env = support.with_work()
    return run_command([sys.executable, *words], directory=folder, env=env, stdin_text=stdin)


@pytest.mark.parametrize("first", ["import earlyfork", ""], ids=["early", "without early"])
@pytest.mark.parametrize("kind", ["script", "command", "module", "package", "repl"])
def test_functions_and_objects_of_the_main_program(tmp_path: Path, kind: str, first: str) -> None:
    text = first + "\n" + support.program("snapshot/own_functions.py")
    stdin = None
    if kind == "script":
        write_files(tmp_path, prog=text)
        words = ["prog.py"]
    elif kind == "command":
        words = ["-c", text]
    elif kind == "module":
        write_files(tmp_path, prog=text)
        words = ["-m", "prog"]
    elif kind == "package":
        write_files(tmp_path, **{"prog.__init__": first, "prog.__main__": text})
        words = ["-m", "prog"]
    else:
        stdin = text  # at a prompt, a block ends with an empty line, as here it does
        words = ["-i", "-q"]
    done = interpret(tmp_path, *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "__main__ __main__ __main__\n", done.stdout + done.stderr
    if kind != "repl":
        assert done.stderr == ""


#: What runs a script that is not the module `__main__`, and what that is told at its prompt.
RUNNERS = {
    "cProfile": (["-m", "cProfile", "prog.py"], ""),
    "profile": (["-m", "profile", "prog.py"], ""),
    "cProfile of a module": (["-m", "cProfile", "-m", "prog"], ""),
    "trace": (["-m", "trace", "--listfuncs", "prog.py"], ""),
    "pdb": (["-m", "pdb", "prog.py"], "continue\nquit\n"),
    "runpy": (["-c", "import runpy; runpy.run_path('prog.py', run_name='__main__')"], ""),
    "exec": (["-c", "exec(open('prog.py').read(), {'__name__': '__main__'})"], ""),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_functions_of_a_script_that_a_profiler_runs(tmp_path: Path, runner: str) -> None:
    write_files(tmp_path, prog="import earlyfork\n" + support.program("snapshot/own_functions.py"))
    words, stdin = RUNNERS[runner]
    done = interpret(tmp_path, *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert "__main__ __main__ __main__\n" in done.stdout, done.stdout + done.stderr
    assert done.stderr == ""


def test_a_library_is_told_that_it_may_not(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text("from earlyfork.template import TEMPLATE\n")
    (tmp_path / "prog.py").write_text(
        "import earlyfork, sys\n"
        "try:\n    import lib\n"
        "except earlyfork.TemplateError as error:\n    print(error)\n"
        "assert 'lib' not in sys.modules\n"
        "from earlyfork.template import TEMPLATE\n"  # it did not stop the main program's own
        "TEMPLATE.fork().ready(10)\n"
    )
    done = interpret(tmp_path, "prog.py")
    assert done.returncode == 0, done.stderr
    assert "only the main program may take a snapshot of itself, not lib" in done.stdout
    assert "earlyfork.new()" in done.stdout


def test_python_threads_are_refused_by_name(run_program: Run) -> None:
    run_program("snapshot/beside_threads.py")


def test_native_threads_are_a_warning_that_names_them(run_program: Run, tmp_path: Path) -> None:
    (tmp_path / "native.c").write_text(support.program("snapshot/native_thread.c"))
    command = ["cc", "-shared", "-fPIC", "-pthread", "-o", "native.so", "native.c"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    run_program("snapshot/beside_native_threads.py")


# -- its files -----------------------------------------------------------------------------------


def test_peers_of_the_program_see_its_end(run_program: Run) -> None:
    """A snapshot holds no end of a pipe or of a connection open."""
    run_program("snapshot/peers.py")


def test_what_harms_nobody_stays_open(run_program: Run) -> None:
    run_program("snapshot/keeps_open.py")


def test_keep_fds(run_program: Run) -> None:
    run_program("snapshot/keep_fds.py")


def test_stale_objects_close_nothing_of_others(run_program: Run) -> None:
    """The worker closes, or collects, what the program had open: its own files stay whole."""
    run_program("snapshot/stale_objects.py")


def test_handles_of_the_program_are_of_no_use_in_it(run_program: Run) -> None:
    run_program("snapshot/handles.py")


# -- what comes from it --------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["import earlyfork", "import sys as earlyfork"])
def test_a_new_process_within_a_snapshots_worker_is_clean(run_script: Run, first: str) -> None:
    """It comes from the program's default template, not from the snapshot."""
    text = support.program("snapshot/new_within.py")
    run_script(f"{first}\n{text}", check=True, env=support.with_work())


def test_snapshots_at_different_times_see_different_states(run_program: Run) -> None:
    run_program("snapshot/states.py")


def test_a_snapshot_within_a_worker(run_program: Run) -> None:
    """A worker is a program as well, and may take one of itself."""
    run_program("snapshot/within_a_worker.py")


def test_it_is_no_child_and_its_exit_functions_do_not_run(run_program: Run) -> None:
    done = run_program("snapshot/exit_functions.py")
    assert done.stdout == "written once; no children; exit function\n"


def test_modules_that_were_half_imported_do_not_hang_its_threads(tmp_path: Path) -> None:
    """A package takes the snapshot on the way: its modules stay, their locks are let go."""
    write_files(
        tmp_path,
        **{
            "pkg.__init__": "from earlyfork.template import TEMPLATE\nLATER = 1\n",
            "pkg.__main__": "from pkg import TEMPLATE\nimport work\n"
            "process = TEMPLATE.fork().send_arg('pkg')\n"
            "print(work.got(process.run('work.import_in_thread')), process.wait(10))\n",
        },
    )
    done = interpret(tmp_path, "-m", "pkg")
    assert done.stdout == "True 0\n", done.stderr


def test_context_is_the_snapshots(run_script: Run) -> None:
    """`fork` keeps what the template was prepared with, also where the program has moved on."""
    run_script(
        """
        import earlyfork
        import os, work
        os.environ["WHEN"] = "then"
        os.mkdir("other")
        from earlyfork.template import TEMPLATE
        os.environ["WHEN"] = "now"
        here = os.getcwd()
        os.chdir("other")
        seen = work.got(TEMPLATE.fork().run(work.environment))
        assert seen["WHEN"] == "then"
        assert work.got(TEMPLATE.fork().run(work.surroundings))["cwd"] == here
        assert work.got(earlyfork.new().run(work.environment))["WHEN"] == "now"
        """,
        check=True,
        env=support.with_work(),
    )


def test_status_tells_what_it_inherited(run_script: Run) -> None:
    """Open sockets that are not listening, and other leaks."""
    run_script(
        """
        import earlyfork
        import os, socket
        near, far = socket.socketpair()
        from earlyfork.template import TEMPLATE
        status = earlyfork.status()
        assert any("socket" in line for line in status.inherited), status
        assert "inherited" in str(status)
        """,
        check=True,
        env=support.with_work(),
    )


def test_a_killed_snapshot_says_so_and_is_not_replaced(run_program: Run) -> None:
    run_program("snapshot/is_killed.py")


def test_a_main_module_that_multiprocessing_runs_again_has_none(run_program: Run) -> None:
    """The import is no error there, since the line stands in every such program; its use is."""
    done = run_program("snapshot/run_again.py")
    assert done.stdout.startswith("this process runs the main module again for multiprocessing")
