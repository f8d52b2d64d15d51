"""Every Python block of README.md and docs/commands.md runs as it stands, each in a process.

A block after `<!-- not run: reason -->` is skipped by that reason. Nothing is added to a block:
what a reader pastes is what runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support import Run

README = Path(__file__).parent.parent / "README.md"
COMMANDS = README.parent / "docs" / "commands.md"
BLOCK = re.compile(
    r"(?:<!--\s*not run:\s*(?P<reason>.*?)\s*-->\s*\n)?^```python\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks(text: str) -> list[pytest.ParameterSet]:
    """The Python blocks of a Markdown text, named by their line."""
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        reason = match["reason"]
        marks = [pytest.mark.skip(reason=f"README.md:{line}: {reason}")] if reason else []
        found.append(pytest.param(match["code"], id=f"line{line}", marks=marks))
    return found


@pytest.mark.skipif(not README.exists(), reason="no README.md here")
@pytest.mark.parametrize("code", blocks(README.read_text("utf-8")) if README.exists() else [])
def test_block_runs(code: str, run_script: Run) -> None:
    done = run_script(code, timeout=30, check=True)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not COMMANDS.exists(), reason="no docs here")
@pytest.mark.parametrize("code", blocks(COMMANDS.read_text("utf-8")) if COMMANDS.exists() else [])
def test_block_about_commands_runs(code: str, run_script: Run) -> None:
    test_block_runs(code, run_script)


def test_blocks_are_found_by_line_and_reason() -> None:
    text = (
        "# t\n\n```python\nx = 1\n```\n\n```sh\nls\n```\n"
        "<!-- not run: needs a GPU -->\n\n```python\ny = 2\n```\n"
    )
    one, other = blocks(text)
    assert (one.id, one.values, one.marks) == ("line3", ("x = 1\n",), [])
    assert (other.id, other.values) == ("line12", ("y = 2\n",))
    assert other.marks[0].kwargs["reason"] == "README.md:12: needs a GPU"
