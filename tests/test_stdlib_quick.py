"""The interpreter's own multiprocessing tests, as far as they are quick: see tests/stdlib/run.py.

`make test-stdlib` runs all of them, and forkserver for comparison.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

import support

RUNNER = Path(__file__).parent / "stdlib" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(
    importlib.util.find_spec("test") is None
    or importlib.util.find_spec("test._test_multiprocessing") is None,
    reason="this Python was installed without its test suite",
)
def test_quick_classes() -> None:
    command = [sys.executable, RUNNER, "--quick", "--jobs", "1"]
    done = support.run_command(command, env=support.with_work(), check=True, timeout=170)
    assert " pass" in done.stdout
