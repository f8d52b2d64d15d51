"""Programs that a debugger runs; what a profiler runs is in test_snapshot."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

DEBUGPY = ["-Xfrozen_modules=off", "-m", "debugpy", "--listen", "127.0.0.1:0"]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("debugpy") is None, reason="debugpy is not installed"
)


def debug(folder: Path, *words: str) -> str:
    program = support.write_script(support.program("debuggers/launches.py"), folder)
    command = [sys.executable, *words, program]
    env = support.with_work(PYTHONWARNINGS="ignore")
    return support.run_command(command, directory=folder, env=env, check=True).stdout


def test_what_is_launched_is_left_alone(tmp_path: Path) -> None:
    """It changes the arguments of each Python that its program executes."""
    assert debug(tmp_path, *DEBUGPY) == "False\nFalse\nFalse\n"


def test_an_early_template_comes_before_the_debugger(tmp_path: Path) -> None:
    assert debug(tmp_path, "-m", "earlyfork", "run", *DEBUGPY[1:]) == "False\nFalse\nTrue\n"
