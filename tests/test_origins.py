"""The contract suite again, in programs whose processes come from somewhere else.

In the pytest process itself there is no early template and no snapshot: those programs are
started here, one for each test, and what they print is shown when one of their tests fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import support

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"
EARLY = ("-m", "earlyfork", "run", "-m", "pytest")
SNAPSHOT = (str(HERE / "contract" / "as_snapshot.py"),)
TEMPLATES = tuple(f"contract/test_{name}.py" for name in ("templates", "running", "ending"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("program", "origins", "settings", "files"),
    [
        pytest.param(EARLY, "early forked", {}, ("contract",), id="early"),
        pytest.param(EARLY, "early forked", {"EARLYFORK_PURE": "1"}, ("contract",), id="pure"),
        pytest.param(SNAPSHOT, "snapshot", {}, ("contract",), id="snapshot"),
        pytest.param(EARLY, "remote", {}, TEMPLATES, id="remote"),
        pytest.param(EARLY, "early", {"EARLYFORK_STANDBY": "0"}, TEMPLATES, id="no-standby"),
        pytest.param(EARLY, "early", {"EARLYFORK_STANDBY": "1"}, TEMPLATES, id="one-standby"),
        pytest.param(EARLY, "early", {"EARLYFORK_STANDBY": "4"}, TEMPLATES, id="four-standbys"),
    ],
)
def test_contract(
    program: tuple[str, ...], origins: str, settings: dict[str, str], files: tuple[str, ...]
) -> None:
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-c", str(PYPROJECT), f"--rootdir={HERE}"]
    done = support.run_command(
        [sys.executable, *program, *options, *files],
        directory=HERE,
        env=support.with_work(EARLYFORK_TEST_ORIGINS=origins, **settings),
        stderr=subprocess.STDOUT,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    # Not one test only, and of the origin that was asked for.
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 50, done.stdout
