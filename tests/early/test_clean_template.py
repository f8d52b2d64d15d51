"""SEMANTICS, "Early": what is in an early template, and that nothing of it shows in the host."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from early.shared import tell

import support
from support import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run, Start


def test_it_holds_the_streams_and_its_own_sockets_only(run_program: Run) -> None:
    run_program("early/many_files_before.py")


def test_fds_above_a_limit_that_was_lowered_are_closed_too(run_script: Run) -> None:
    run_script(
        """
        import os, resource
        reader, writer = os.pipe()
        os.dup2(writer, 800)
        os.close(writer)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        import earlyfork
        import support
        earlyfork.new().ready(10)
        os.close(800)
        assert support.eof_within(reader, 5), "the template holds an fd of its main program"
        """,
        check=True,
        env=support.with_work(),
    )


def test_nothing_of_the_main_program_is_in_it(run_program: Run) -> None:
    """A fresh `__main__`, no half-imported module, no handler, a frozen heap."""
    done = run_program("early/secrets_before.py")
    assert done.stdout == "unflushed exit function of the main program\n"


def test_umask_and_limits_are_the_callers_as_for_any_child(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        earlyfork.new().eval("import os; old = os.umask(0o022); assert old == args[0], oct(old)",
                             0o022).ready(10)
        """,
        check=True,
        umask=0o022,
    )


def test_a_module_that_was_half_imported_is_imported_anew(tmp_path: Path) -> None:
    """The package's first line imports earlyfork: its second half must run in the worker too."""
    write_files(
        tmp_path,
        **{
            "pkg.__init__": "import earlyfork\nfrom pkg import part\nWHOLE = True\n",
            "pkg.part": "",
            "pkg.worker": "import pkg\ndef f(sock):\n    assert pkg.WHOLE and pkg.part\n",
            "pkg.__main__": "import earlyfork\np = earlyfork.new()\np.run('pkg.worker.f').close()\n"
            "assert p.wait(10) == 0\nprint(earlyfork.status().early)\n",
        },
    )
    assert tell(tmp_path, "-m", "pkg") == "True\n"


def test_a_package_that_begins_with_the_import_does_not_hang_threads(tmp_path: Path) -> None:
    """The trap: the template inherits import locks whose holder will never come back."""
    write_files(
        tmp_path,
        **{
            "pkg.__init__": "import earlyfork\nimport json\n",
            "pkg.worker": "",
            "pkg.__main__": "import earlyfork, work\n"
            "assert earlyfork.status().early\n"
            "p = earlyfork.new().send_arg('pkg.worker')\n"
            "print(work.got(p.run('work.import_in_thread')), p.wait(10))\n",
        },
    )
    answer = tell(tmp_path, "-m", "pkg", PYTHONPATH=support.python_path(tmp_path))
    assert answer == "True 0\n"


def test_names_in_ps(run_program: Run) -> None:
    run_program("early/names_in_ps.py")


def test_siblings_do_not_share_a_random_stream(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import work
        template = earlyfork.new().require("random", "work")
        template.eval("def roll(sock): import random; work.give(sock, random.getrandbits(64))")
        template.eval("import work")
        rolled = {work.got(template.fork().run("roll")) for _ in range(6)}
        assert len(rolled) == 6, rolled
        """,
        check=True,
        env=support.with_work(),
    )


def test_siblings_do_not_share_numpys_random_stream(run_script: Run) -> None:
    if importlib.util.find_spec("numpy") is None:  # imported here, it would leave its threads
        pytest.skip("no numpy")
    run_script(
        """
        import earlyfork
        import work
        template = earlyfork.new().require("numpy.random", "work")
        template.eval("import numpy, work; seeded = numpy.random.random()")
        template.eval("def roll(sock): work.give(sock, float(numpy.random.random()))")
        rolled = {work.got(template.fork().run("roll")) for _ in range(4)}
        assert len(rolled) == 4, rolled
        """,
        check=True,
        env=support.with_work(),
    )


# -- nothing of it shows in the host -------------------------------------------------------------


def test_wait_finds_no_children(run_program: Run) -> None:
    done = run_program("early/looks_for_children.py")
    assert done.stdout == "none\n" * 4


def test_the_pipe_ends_with_the_program(run_script: Run) -> None:
    """`run_script` waits for the end of both streams."""
    done = run_script(
        """
        import earlyfork
        kept = [earlyfork.new().ready(10) for _ in range(3)]
        clone = kept[0].fork().ready(10)
        print("end")
        """,
        check=True,
        timeout=10,
    )
    assert done.stdout == "end\n"


@pytest.mark.parametrize("moment", ["at once", "with standbys and prepared processes"])
def test_the_pipe_ends_with_a_killed_program(start_script: Start, moment: str) -> None:
    process = start_script(
        f"""
        import earlyfork
        import signal
        if {moment != "at once"}:
            kept = [earlyfork.new().ready(10) for _ in range(3)]
            clone = kept[0].fork().ready(10)
            kept[1].eval("import signal\\nwhile True: signal.pause()")
        print("up", flush=True)
        signal.pause()
        """
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    assert support.read_until_eof(process.stdout.fileno(), 5) == b""
    assert support.read_until_eof(process.stderr.fileno(), 5) == b""
