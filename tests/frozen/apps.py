"""The binaries that tests of frozen apps run: how they are built, and how they are run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import support

HERE = Path(__file__).parent


class Built(NamedTuple):
    """The two binaries, and what PyInstaller said."""

    onefile: Path
    onedir: Path
    log: str


def build(name: str, place: Path) -> None:
    spec = importlib.util.find_spec("earlyfork")
    assert spec is not None
    assert spec.origin is not None
    if Path(spec.origin).is_relative_to(HERE.parent.parent / "src"):
        pytest.fail("PyInstaller sees no editable install: install a wheel (make test does)")
    work = place / "work"
    command = [sys.executable, "-m", "PyInstaller", HERE / "program" / f"{name}.spec"]
    command += ["--distpath", place, "--workpath", work]
    with (place / "log").open("w") as log:
        # Its cache would be shared with builds of other people and other runs.
        env = support.clean_env(PYINSTALLER_CONFIG_DIR=str(work / "config"))
        done = subprocess.run(command, stdout=log, stderr=log, env=env, check=False)
    shutil.rmtree(work, ignore_errors=True)
    assert done.returncode == 0, f"PyInstaller failed:\n{(place / 'log').read_text()}"


class App:
    """One binary in one of its two ways to begin, with an unpack directory of its own."""

    def __init__(self, binary: Path, origin: str, directory: Path) -> None:
        self.binary, self.origin, self.directory = binary, origin, directory
        self.early = origin == "early"
        self.unpack = directory / "unpack"
        self.unpack.mkdir()
        self.result = directory / "result"

    def command(self, scenario: str, *words: object) -> list[str]:
        """What starts a scenario."""
        return [str(self.binary), self.origin, scenario, str(self.result), *map(str, words)]

    def env(self) -> dict[str, str]:
        """An environment in which no Python can be found."""
        return {"PATH": "", "TMPDIR": str(self.unpack)}

    def play(self, scenario: str, *words: object, **options: Any) -> Any:
        """Run a scenario to its end; what it saw."""
        return self.finish(self.command(scenario, *words), **options)

    def finish(
        self, command: list[str], *, stdout: str = "body\n", stderr: str = "", **options: Any
    ) -> Any:
        """Run a command that plays a scenario; check what is common to all, return what it saw.

        Args:
            command: what to run.
            stdout: all of its stdout.
            stderr: a pattern for all of its stderr.
            **options: for subprocess.run.
        """
        done = subprocess.run(
            command,
            **{"env": self.env(), "cwd": self.directory, "stdin": subprocess.DEVNULL, **options},
            capture_output=True,
            text=True,
            timeout=support.PATIENCE * 6,
            check=False,
        )
        assert re.fullmatch(stderr, done.stderr, re.DOTALL), done.stderr
        assert done.returncode == 0
        assert done.stdout == stdout
        assert list(self.unpack.iterdir()) == []
        return json.loads(self.result.read_text())

    def check_origin(self, seen: dict[str, Any]) -> None:
        """Whether processes came about the way this app begins."""
        assert seen["early"] is self.early, seen["reason"]
