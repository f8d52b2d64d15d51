"""A stranger's first ten minutes: an empty venv, the built wheel, no checkout and no compiler.

Command by command, as the README and the guides say it. What is read there is what is run here.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support import run_command

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parent.parent
WHEELS = sorted((ROOT / "dist").glob("earlyfork-*.whl"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not WHEELS, reason="there is no wheel in dist: make .venv/installed"),
]


def first_block(page: str, language: str = "python", after: str = "") -> str:
    """The first program of a page, behind some words of it."""
    text = (ROOT / page).read_text("utf-8").partition(after)[2] if after else ""
    text = text or (ROOT / page).read_text("utf-8")
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


class Stranger(NamedTuple):
    """Somebody in a directory of their own, with a venv and nothing else."""

    home: Path
    env: dict[str, str | None]

    def says(self, *words: str, status: int = 0, seconds: float = 60) -> str:
        """What a command line shows, and that it ends as it should."""
        done: subprocess.CompletedProcess[str] = run_command(
            words, directory=self.home, env=self.env, timeout=seconds
        )
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    home = tmp_path_factory.mktemp("stranger")
    (home / "tools").mkdir()
    for name in ("cc", "gcc", "clang", "c++", "zig"):  # found before any compiler of the machine
        (home / "tools" / name).write_text("#!/bin/sh\necho no compiler >&2\nexit 127\n")
        (home / "tools" / name).chmod(0o755)
    path = f"{home}/venv/bin:{home}/tools:{os.environ['PATH']}"
    person = Stranger(home, {"PATH": path, "CC": None, "PYTHONPATH": None, "PYTHONSAFEPATH": None})
    person.says(sys.executable, "-m", "venv", "venv", seconds=120)
    said = person.says("pip", "install", "--no-index", "--quiet", str(WHEELS[0]))
    assert "error" not in said.lower()
    return person


def test_it_is_there_and_the_first_program_runs(stranger: Stranger) -> None:
    shown = stranger.says("pip", "show", "earlyfork")
    assert "A new, clean Python process in the time of a socket write" in shown
    assert "Requires: \n" in shown
    (stranger.home / "first.py").write_text(first_block("README.md"))
    assert stranger.says("python", "first.py") == "1267650600228229401496703205376\n0\n"


def test_what_is_wrong_is_said(stranger: Stranger) -> None:
    page = stranger.says("earlyfork", "doctor")
    assert page.startswith("earlyfork is healthy here\n")
    if sys.platform == "linux" and "cp3" in WHEELS[0].name:
        assert "\npart in C:      yes\n" in page
    assert stranger.says("earlyfork", status=2).startswith("usage: earlyfork ")
    assert "TypeError" in stranger.says(
        "python", "-c", "import earlyfork; earlyfork.new().run(17)", status=1
    )


def test_help_is_there(stranger: Stranger) -> None:
    for topic, words in (
        ("earlyfork", "a new, clean Python process"),
        ("earlyfork.Process.run", "The socket to the process"),
        ("earlyfork.new", "Raises:"),
        ("earlyfork.rpc.Client", "call"),
    ):
        assert words in stranger.says("python", "-m", "pydoc", topic)


@pytest.mark.parametrize(
    ("page", "after"),
    [("docs/use-with.md", "<!-- run -->"), ("docs/commands.md", ""), ("docs/calls.md", "")],
)
def test_a_guide_is_true(stranger: Stranger, page: str, after: str) -> None:
    (stranger.home / "guide.py").write_text(first_block(page, after=after))
    assert "Traceback" not in stranger.says("python", "guide.py")


@pytest.mark.frozen
def test_it_freezes_without_being_told(stranger: Stranger) -> None:
    install = [f"{stranger.home}/venv/bin/python", "-m", "pip", "install", "--quiet", "pyinstaller"]
    done = run_command(install, env=stranger.env, timeout=120)
    if done.returncode:
        pytest.skip(f"PyInstaller can't be installed here: {done.stderr.splitlines()[-1]}")
    (stranger.home / "first.py").write_text(first_block("README.md"))
    stranger.says("pyinstaller", "--onefile", "--log-level=ERROR", "first.py", seconds=200)
    alone = stranger._replace(env={**stranger.env, "PATH": "/nowhere"})
    assert alone.says("dist/first") == "1267650600228229401496703205376\n0\n"
