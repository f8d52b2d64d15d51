"""The example that becomes one binary also runs as it stands. Frozen, `make demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import support

APP = Path(__file__).parent.parent / "examples" / "frozen_app" / "app.py"


def test_runs_unfrozen() -> None:
    done = subprocess.run(
        [sys.executable, APP],
        env=support.clean_env(),
        capture_output=True,
        text=True,
        timeout=support.PATIENCE * 3,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout.partition("process ")[2].splitlines()[1:]
    assert [line.split()[-1] for line in table] == ["0", "0", "0", "42", "-15"]
