"""The tests that other packagers run: `python -m PyInstaller.utils.run_tests`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="earlyfork forks nothing there")

# `colorsys` is named as a string only.
LIBRARY = """
import earlyfork

WORKER = '''
def reply(sock, word):
    import sys
    sock.sendall(f"{word} {'colorsys' in sys.modules}".encode())
'''

def check(early):
    assert earlyfork.status().early is early, earlyfork.status()
    process = earlyfork.new().require("colorsys").eval(WORKER).send_arg("word")
    with process.run("reply") as sock:
        answer = sock.makefile().read()
    assert answer == "word True", answer
    assert process.wait(30) == 0
"""


@pytest.fixture
def library(tmp_path: Path) -> list[str]:
    """Options that let the program import LIBRARY."""
    (tmp_path / "library_of_the_test.py").write_text(LIBRARY)
    return ["--paths", str(tmp_path)]


def test_early_template(pyi_builder: Any, library: list[str]) -> None:
    """The program asks for it in its first line."""
    source = "import earlyfork, library_of_the_test; library_of_the_test.check(early=True)"
    pyi_builder.test_source(source, pyi_args=library)


def test_app_that_is_launched_again(pyi_builder: Any, library: list[str]) -> None:
    """Only a library uses earlyfork: libraries never fork their host."""
    # The binary's second start must never reach this text, which would then launch a third.
    source = "import library_of_the_test; library_of_the_test.check(early=False)"
    pyi_builder.test_source(source, pyi_args=library)
