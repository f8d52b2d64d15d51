"""A system without /proc, as chroots, some sandboxes and other Unixes are: what still works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import support

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
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"/proc can't be hidden here: {done.stderr.strip()}")
    return command


def run(hidden: list[str], folder: Path, source: str, *, early: bool) -> str:
    """What a program prints there that ends well and says nothing on stderr."""
    script = support.write_script(source, folder)
    env = support.clean_env(PYTHONPATH=support.python_path(), EARLYFORK=None if early else "0")
    done = subprocess.run(
        [*hidden, sys.executable, script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("early", [True, False])
def test_processes(hidden: list[str], tmp_path: Path, *, early: bool) -> None:
    """Made, run, nested, signalled, waited for, and ended with their owner."""
    out = run(
        hidden,
        tmp_path,
        """
        import earlyfork
        import os, work
        assert not os.path.exists("/proc/self")
        for make in (earlyfork.new, earlyfork.new_exec):
            process = make().send_arg(2)
            assert len(work.got(process.run(work.nested))) == 3
            assert process.wait(10) == 0
        linked = earlyfork.new()
        sock = linked.run(work.stubborn, linked=True)
        assert sock.recv(1) == b"!"
        linked.kill()
        assert linked.wait(10) == -9
        last = earlyfork.new()  # holds stdout, and would do so for ever
        sock = last.run(work.stubborn, linked=True)
        assert sock.recv(1) == b"!"
        print(earlyfork.status().early)
        """,
        early=early,
    )
    assert out == f"{early}\n"


def test_a_snapshot(hidden: list[str], tmp_path: Path) -> None:
    """Its peers' sockets are dead ends, its files stay, and what hurts is told by number."""
    out = run(
        hidden,
        tmp_path,
        """
        import earlyfork
        import os, socket, threading, work
        near, far = socket.socketpair()
        file = open("kept", "w+")
        def look(sock):
            with socket.socket(fileno=far.fileno()) as dead:
                work.give(sock, (dead.recv(1), os.fstat(file.fileno()).st_ino))
        from earlyfork.template import TEMPLATE, snapshot
        from earlyfork import TemplateError
        process = TEMPLATE.fork()
        assert work.got(process.run(look)) == (b"", os.fstat(file.fileno()).st_ino)
        assert process.wait(10) == 0
        told = "\\n".join(earlyfork.status().inherited)
        assert f"{near.fileno()} (socket), {far.fileno()} (socket)" in told, told
        go = threading.Event()
        thread = threading.Thread(target=go.wait, name="poller")
        thread.start()
        try:
            snapshot()
        except TemplateError as error:
            print(error)
        go.set()
        thread.join()
        """,
        early=True,
    )
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
    out = run(
        hidden,
        tmp_path,
        """
        import earlyfork
        import earlyfork.mp, multiprocessing, os, threading
        def ask(answers):
            answers.put(os.umask(0))
        if __name__ == "__main__":
            context = multiprocessing.get_context("earlyfork")
            go = threading.Event()
            thread = threading.Thread(target=go.wait)
            thread.start()
            os.umask(0o27)
            answers = context.Queue()
            worker = context.Process(target=ask, args=(answers,))
            worker.start()
            print(oct(answers.get(timeout=10)), oct(os.umask(0)))
            worker.join()
            go.set()
            thread.join()
        """,
        early=True,
    )
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
