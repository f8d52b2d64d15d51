"""A system without /proc, as chroots, some sandboxes and other Unixes are: what still works."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import support
from support import output_of, run_command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def hidden() -> list[str]:
    """A command that runs another one where /proc is an empty directory."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here")
    command = [unshare, "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    done = run_command([*command, "true"])
    if done.returncode:
        pytest.skip(f"/proc can't be hidden here: {done.stderr.strip()}")
    return command


def run(hidden: list[str], folder: Path, source: str, *, early: bool) -> str:
    """What a program prints there that ends well and says nothing on stderr."""
    command = [*hidden, sys.executable, support.write_script(source, folder)]
    env = support.with_work(EARLYFORK=None if early else "0")
    return output_of(run_command(command, directory=folder, env=env, timeout=30))


@pytest.mark.parametrize("early", [True, False])
def test_processes(hidden: list[str], tmp_path: Path, *, early: bool) -> None:
    """Made, run, nested, signalled, waited for, and ended with their owner."""
    program = support.program("without_proc/processes.py")
    out = run(hidden, tmp_path, program, early=early)
    assert out == f"{early}\n"


def test_a_snapshot(hidden: list[str], tmp_path: Path) -> None:
    """Its peers' sockets are dead ends, its files stay, and what hurts is told by number."""
    program = support.program("without_proc/snapshot.py")
    out = run(hidden, tmp_path, program, early=True)
    assert out.startswith("no snapshot can be taken while other threads run (poller)")


def test_threads_are_counted_all_the_same(hidden: list[str], tmp_path: Path) -> None:
    """Python's own are all that can be known."""
    out = run(
        hidden,
        tmp_path,
        """
        import threading, warnings
        go = threading.Event()
        thread = threading.Thread(target=go.wait, name="poller", daemon=True)
        thread.start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import earlyfork
        print(earlyfork.status().early, "(poller)" in str(caught[0].message))
        go.set()
        """,
        early=True,
    )
    assert out == "False True\n"


def test_the_doctor(hidden: list[str], tmp_path: Path) -> None:
    out = run(
        hidden,
        tmp_path,
        """
        import earlyfork
        from earlyfork import doctor
        import os
        file, device = open("file", "w"), open("/dev/null")
        found = doctor.report()
        assert found.launch.works and found.health == doctor.HEALTHY, found
        print(*sorted(found.fds), sep="\\n")
        """,
        early=True,
    )
    assert {line.partition(": ")[2] for line in out.splitlines()} == {"file", "device or other"}


def test_multiprocessing(hidden: list[str], tmp_path: Path) -> None:
    """Workers that were started beside another thread have its caller's umask."""
    program = support.program("without_proc/multiprocessing_child.py")
    out = run(hidden, tmp_path, program, early=True)
    assert out == "0o27 0o27\n"


def test_an_app_that_is_its_own_binary(hidden: list[str], tmp_path: Path) -> None:
    """Whether it was given rights is asked of libc there, and the marker is believed."""
    app = tmp_path / "app"
    app.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/main_program.py"\n')
    app.chmod(0o755)
    out = run(
        hidden,
        tmp_path,
        f"""
        import sys
        sys.frozen, sys.executable = True, {str(app)!r}
        import earlyfork
        import work
        process = earlyfork.new().send_arg("x")
        assert work.got(process.run(work.echo)) == ("x",)
        assert process.wait(10) == 0
        print("runs")
        """,
        early=False,
    )
    assert out == "runs\n"
