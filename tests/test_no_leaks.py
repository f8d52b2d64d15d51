"""The no-leak fixture itself: it names what each of these tests leaves behind, and only that."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import support

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"

LEAKY = """
    import os, signal, socket, subprocess, sys, threading

    import pytest
    from hypothesis import given, strategies

    kept = []
    NAP = "import select; select.select([], [], [], 60)"

    def test_clean_fd():
        os.close(os.open(os.devnull, os.O_RDONLY))

    def test_clean_child():
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    def test_clean_orphan_that_ends():
        # the grandchild comes home here, ends when the pipe does, and is nobody's fault
        subprocess.run(
            [sys.executable, "-c",
             "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'pass'])"],
            check=True)

    def test_leaks_fd():
        kept.append(os.open("/dev/zero", os.O_RDONLY))

    def test_leaks_socket():
        kept.extend(socket.socketpair())

    def test_leaks_child():
        kept.append(subprocess.Popen([sys.executable, "-c", NAP]))

    def test_leaks_zombie():
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def test_leaks_orphan():
        subprocess.run(
            [sys.executable, "-c", "import subprocess, sys; subprocess.Popen(sys.argv[1:])",
             sys.executable, "-c", NAP, "orphan"],
            check=True)

    def test_clean_child_of_a_wider_fixture(parent):
        pass

    def test_leaks_orphan_of_before(parent):
        # its parent, made before this test, dies in it
        parent.kill()
        parent.wait()

    @pytest.fixture(scope="module")
    def parent():
        process = subprocess.Popen(
            [sys.executable, "-c",
             "import subprocess, sys; subprocess.Popen(sys.argv[1:]); print(flush=True); input()",
             sys.executable, "-c", NAP, "old orphan"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with process:
            process.stdout.readline()
            yield process
            process.kill()

    @given(strategies.integers())
    def test_clean_hypothesis(number):
        assert number == number

    def test_leaks_thread():
        waiting = threading.Event()
        kept.append(waiting)
        threading.Thread(target=waiting.wait, name="left-thread", daemon=True).start()

    def test_leaks_handler():
        signal.signal(signal.SIGUSR1, lambda *_: None)

    def test_leaks_blocked_signal():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    def test_replaces_stdin():
        fd = os.open("/dev/zero", os.O_RDONLY)
        os.dup2(fd, 0)
        os.close(fd)

    def test_fails_and_leaks():
        kept.append(subprocess.Popen([sys.executable, "-c", NAP, "failed"]))
        raise ValueError("own failure")

    def test_clean_at_the_end():
        pass
"""

NAMED = {
    "test_leaks_fd": r"fd \d+ -> /dev/zero",
    "test_leaks_socket": r"fd \d+ -> socket:\[\d+\]",
    "test_leaks_child": r"process \d+ \(S\) .*select",
    "test_leaks_zombie": r"process \d+ \(Z\) \[true\]$",
    "test_leaks_orphan": r"process \d+ \(S\) .* orphan$",
    "test_leaks_orphan_of_before": r"process \d+ \(S\) .* old orphan$",
    "test_leaks_thread": r"thread \d+ left-thread",
    "test_leaks_handler": r"handler of SIGUSR1: <function .*>, was .*SIG_DFL",
    "test_leaks_blocked_signal": r"signals SigBlk: 0*800, was 0*",
    "test_replaces_stdin": r"fd 0 -> /dev/zero, was /dev/null",
}
CLEAN = re.findall(r"def (test_clean\w+)", LEAKY)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One pytest run over the leaky tests, under this suite's conftest."""
    directory = tmp_path_factory.mktemp("leaky")
    for name in ("conftest.py", "support.py"):
        shutil.copy(HERE / name, directory)
    support.write_script(LEAKY, directory, "test_leaky.py")
    command = [sys.executable, "-m", "pytest", "-n0", "-v", "-p", "no:cacheprovider"]
    command += ["-c", str(PYPROJECT), f"--rootdir={directory}", "-o", f"pythonpath={directory}"]
    done = subprocess.run(
        [*command, str(directory)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=directory,
        env=support.clean_env(LEAK_GRACE="0.3"),
        timeout=50,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and subreapers")


@pytest.mark.parametrize("name", NAMED)
def test_names_the_leak(report: str, name: str) -> None:
    section = re.search(
        rf"ERROR at teardown of {name} _+\n(.*?)\n(_{{5}}|={{5}})", report, re.DOTALL
    )
    assert section, report
    lines = [line for line in section[1].splitlines() if line.startswith("  ")]
    assert [line for line in lines if re.search(NAMED[name], line)], section[1]


@pytest.mark.parametrize("name", CLEAN)
def test_is_silent_about_what_ends(report: str, name: str) -> None:
    assert f"::{name} PASSED" in report
    assert f"::{name} ERROR" not in report


def test_a_failing_test_is_told_by_its_own_failure(report: str) -> None:
    assert "::test_fails_and_leaks FAILED" in report
    assert "::test_fails_and_leaks ERROR" not in report
    assert "ValueError: own failure" in report
