"""The main module, which workers need: run once more for all of them, or not at all."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from mp.shared import program, text

import support
from support import output_of, run_command, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from mp.shared import Say

    from support import Run


STARTS = {
    "Process": "p = ctx.Process(target=work, args=(3,)); p.start(); p.join(); print(p.exitcode)",
    "Pool": "with ctx.Pool(2) as pool: print(pool.map(work, [1, 2]))",
    "executor": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2, mp_context=ctx) as e: print(list(e.map(work, [1, 2])))"
    ),
    "Manager": "with ctx.Manager() as m: d = m.dict(); d[1] = 2; print(d)",
    "default": 'mp.set_start_method("earlyfork")\nwith mp.Pool(2) as p: print(p.map(work, [1, 2]))',
}


@pytest.mark.parametrize("start", STARTS)
def test_script_without_a_guard(run: Say, start: str) -> None:
    out = run(
        f"""\
print("top level")
def work(x):
    return x + offset
offset = 10
{STARTS[start]}
""",
        "",
    )
    result = {"Process": "0", "Manager": "{1: 2}"}.get(start, "[11, 12]")
    assert out == f"top level\n{result}\n"


def test_main_runs_once_for_all_workers(run_file: Say) -> None:
    assert run_file("notes_its_runs.py") == "top level\n__main__ __mp_main__\n"


def test_a_main_module_run_by_name(origin: str, tmp_path: Path) -> None:
    main = text(
        origin,
        "from . import __name__ as package\ndef show():\n    return package, __spec__.name",
        "with ctx.Pool(1) as pool:\n    print(pool.apply(show))",
    )
    write_files(tmp_path, **{"app.__init__": "", "app.cli": main})
    done = run_command([sys.executable, "-m", "app.cli"], directory=tmp_path, timeout=30)
    assert output_of(done) == "('app', 'app.cli')\n"


def test_a_main_module_that_fails_says_so_in_the_worker(origin: str, run_script: Run) -> None:
    source = text(
        origin,
        'def f():\n    pass\nif __name__ != "__main__":\n    raise ValueError("not twice")',
        "p = ctx.Process(target=f)\np.start()\np.join()\nprint(p.exitcode)",
    )
    done = run_script(source)
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert done.stderr.strip().endswith("ValueError: not twice")
    assert "mp/child.py" not in done.stderr


def test_without_a_main_file(origin: str) -> None:
    code = text(origin, "import operator") + (
        "p = ctx.Pool(1); print(p.apply(operator.add, (1, 2))); p.close(); p.join()"
    )
    assert output_of(run_command([sys.executable, "-c", code], timeout=30)) == "3\n"


def test_a_snapshot_needs_no_second_run_of_main(run_program: Run) -> None:
    assert output_of(run_program("mp/snapshot.py")) == "[2, 3]\n__main__\n\n"


def test_a_main_program_shorter_than_the_head_of_a_pyc(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(
        "import earlyfork.mp, multiprocessing as mp, sys\n"
        "def go():\n"
        "    p = mp.get_context('earlyfork').Process(target=print, args=('went',))\n"
        "    p.start(); p.join(); print(p.exitcode)\n"
        "if 'ef-template' not in open('/proc/self/comm').read(): go()\n"
    )
    done = support.run_script(
        "import lib", directory=tmp_path, env={"PYTHONPATH": support.python_path(tmp_path)}
    )
    assert (done.returncode, done.stdout) == (0, "went\n0\n"), done


def test_a_main_module_that_is_no_more(tmp_path: Path) -> None:
    """Run by `python -m`, then removed: the worker says so, and nobody waits for it in vain."""
    (tmp_path / "tool.py").write_text(
        "import earlyfork.mp, multiprocessing as mp, os\n"
        "def work():\n    pass\n"
        "if __name__ == '__main__':\n"
        "    os.remove(__file__)\n"
        "    p = mp.get_context('earlyfork').Process(target=work)\n"
        "    p.start(); p.join(); print(p.exitcode)\n"
    )
    done = run_command([sys.executable, "-B", "-m", "tool"], directory=tmp_path, timeout=30)
    assert done.stdout == "1\n", done
    assert "ImportError: the main module tool can't be found" in done.stderr


def test_a_main_program_that_was_read_from_stdin(origin: str, tmp_path: Path) -> None:
    """One error in the program, and not one in each worker, of which a pool starts one more."""
    text = program(origin, "read_from_stdin.py")
    done = run_command([sys.executable, "-"], directory=tmp_path, stdin_text=text)
    *errors, results = output_of(done).splitlines()
    assert len(errors) == 2
    for error in errors:
        assert "was read from stdin" in error
        assert "snapshot" in error
    assert results == "[2, 4]"


def test_a_script_that_is_no_more(origin: str, tmp_path: Path) -> None:
    done = support.run_script(
        text(
            origin,
            "def work():\n    pass",
            "os.remove(__file__)\nctx.Process(target=work).start()",
        ),
        directory=tmp_path,
    )
    assert done.returncode == 1
    assert "can't be run again for its workers: there is no file" in done.stderr
