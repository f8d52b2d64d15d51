"""The interpreter's own multiprocessing tests, as far as they are quick: see tests/stdlib/run.py.

`make test-stdlib` runs all of them, and forkserver for comparison.
"""

from __future__ import annotations

import importlib.util
import subprocess
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
    env = support.clean_env(PYTHONPATH=support.python_path())
    done = subprocess.run(
        [sys.executable, str(RUNNER), "--quick", "--jobs", "1"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " pass" in done.stdout
