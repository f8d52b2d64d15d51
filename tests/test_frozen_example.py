"""The example that becomes one binary also runs as it stands. Frozen, `make demo` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import support

APP = Path(__file__).parent.parent / "examples" / "frozen_app" / "app.py"


def test_runs_unfrozen() -> None:
    done = support.run_command([sys.executable, APP], timeout=support.PATIENCE * 3)
    table = support.output_of(done).partition("process ")[2].splitlines()[1:]
    assert [line.split()[-1] for line in table] == ["0", "0", "0", "42", "-15"]
