"""The programs in the pages of docs that mark them do what the pages say they print."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import support

if TYPE_CHECKING:
    from support import Run

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (
    *("use-with.md", "calls.md", "pool.md", "engines.md", "remote.md"),
    *("index.md", "first-line.md", "libraries.md", "snapshots.md"),
    *sorted(f"migrate/{page.name}" for page in DOCS.glob("migrate/*.md")),
)


class Block(NamedTuple):
    heading: str
    remark: str
    language: str
    text: str
    shown: str


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    heading = remark = ""
    lines = iter((DOCS / page).read_text().splitlines(keepends=True))
    for line in lines:
        if line.startswith("#"):
            heading = line.strip("# \n")
        elif match := re.match(r"<!-- (.*) -->", line):
            remark = match[1]
        elif line.startswith("```"):
            language = line.strip("`\n")
            text = "".join(iter(lambda: next(lines), "```\n"))
            if language == "text":
                found[-1] = found[-1]._replace(shown=text)
            else:
                found.append(Block(heading, remark, language, text, ""))
            remark = ""
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def test_every_block_is_run_or_says_why_not() -> None:
    assert BLOCKS
    for block in BLOCKS:
        assert re.fullmatch(r"run|run needs \w+|not run: .+", block.remark), block


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{number}-{block.heading}")
        for number, block in enumerate(BLOCKS)
        if block.remark.startswith("run")
    ],
)
def test_block(block: Block, run_script: Run) -> None:
    needed = block.remark.partition("needs ")[2]
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    done = run_script(block.text, timeout=50)
    assert (done.returncode, done.stdout) == (0, block.shown), done
    if not needed:
        assert done.stderr == ""


def test_a_program_that_was_not_written_for_it(tmp_path: Path) -> None:
    """`python -m earlyfork run -m server app:app`, with threads before the first process."""
    server = """\
        import sys, threading
        def main():
            stop = threading.Event()
            threading.Thread(target=stop.wait).start()
            try:
                print(__import__(sys.argv[1].partition(":")[0]).app())
            finally:
                stop.set()
        if __name__ == "__main__":
            main()
        """
    app = """\
        import earlyfork
        import earlyfork.mp
        from concurrent.futures import ProcessPoolExecutor
        executor = ProcessPoolExecutor(1, mp_context=earlyfork.mp.get_context())
        def work(n):
            return sum(range(n))
        def app():
            return executor.submit(work, 10).result(), earlyfork.status().early
        """
    support.write_script(server, tmp_path, "server.py")
    support.write_script(app, tmp_path, "app.py")
    command = [sys.executable, "-m", "earlyfork", "run", "-m", "server", "app:app"]
    done = support.run_command(command, directory=tmp_path)
    assert support.output_of(done) == "(45, True)\n"


@pytest.mark.parametrize("origin", support.ORIGINS)
@pytest.mark.skipif(
    importlib.util.find_spec("coverage") is None, reason="coverage is not installed"
)
def test_coverage_of_workers(tmp_path: Path, origin: str) -> None:
    """All lines are run, those of each worker in the worker alone."""
    config, program = (block.text for block in BLOCKS if block.heading == "Coverage of workers")
    (tmp_path / ".coveragerc").write_text(config)
    support.write_script(program, tmp_path, "program.py")

    def coverage(*words: str) -> str:
        command = [sys.executable, "-m", "coverage", *words]
        env = support.ORIGINS[origin]
        return support.output_of(support.run_command(command, directory=tmp_path, env=env))

    assert coverage("run", "program.py") == "20\n"
    coverage("combine", "--quiet")
    report = coverage("report", "--show-missing", "--include=program.py")
    assert re.search(r"program.py +14 +0 +100%\n", report), report
