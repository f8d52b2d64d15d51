"""The multiprocessing start method in a frozen app that knows nothing of freeze_support()."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from mp.shared import program

import support

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.frozen
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("origin", "kind"),
    [
        ("early", "onefile"),
        ("launched", "onedir"),
        pytest.param("early", "onedir", marks=pytest.mark.long),
        pytest.param("launched", "onefile", marks=pytest.mark.long),
    ],
)
def test_frozen_app(tmp_path: Path, origin: str, kind: str) -> None:
    (tmp_path / "app.py").write_text(program(origin, "frozen_app.py"))
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", f"--{kind}", "app.py"]
    subprocess.run(build, cwd=tmp_path, env=support.clean_env(), capture_output=True, check=True)
    binary = tmp_path / "dist" / ("app/app" if kind == "onedir" else "app")
    done = subprocess.run(
        [str(binary)],
        cwd=tmp_path,
        env={"PATH": "/nowhere", "TMPDIR": os.environ.get("TMPDIR", str(tmp_path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert support.output_of(done) == "top level\n3\n[0, 1, 4, 9]\n[0, 1, 4]\n"
