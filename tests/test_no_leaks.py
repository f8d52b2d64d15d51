"""The no-leak fixture itself: it names what each of these tests leaves behind, and only that."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

import support

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"

LEAKY = support.program("no_leaks/leaky.py")

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
    done = support.run_command(
        [*command, directory], directory=directory, env={"LEAK_GRACE": "0.3"}, timeout=50
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
