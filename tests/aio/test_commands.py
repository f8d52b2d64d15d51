"""Commands, awaited."""

from __future__ import annotations

import sys
from subprocess import PIPE, CalledProcessError
from typing import TYPE_CHECKING, Any

import pytest

import support
from earlyfork import aio

if TYPE_CHECKING:
    from pathlib import Path

SHELL = ("sh", "-c")
#: Writes more than a pipe holds to both, and reads as much.
BOTH = (
    "import sys; data = sys.stdin.buffer.read();"
    "sys.stderr.buffer.write(data[::-1]); sys.stdout.buffer.write(data)"
)


def run(on: Any, *args: Any, **options: Any) -> Any:
    return on.run(lambda: aio.run_command(*args, **options))


def test_megabytes_both_ways(on: Any) -> None:
    data = bytes(range(256)) * 8000
    done = run(on, [sys.executable, "-S", "-c", BOTH], input=data, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, data[::-1])


def test_text_and_one_pipe(on: Any) -> None:
    done = run(on, ["cat"], input="w\xf6rd\r\n", stdout=PIPE, text=True, check=True)
    assert (done.stdout, done.stderr) == ("w\xf6rd\n", None)
    done = run(on, ["printf", "\\344"], stdout=PIPE, encoding="latin-1")
    assert done.stdout == "\xe4"


def test_nothing_to_write_and_nobody_who_reads(on: Any) -> None:
    assert run(on, ["cat"], input=b"", capture_output=True).stdout == b""
    assert run(on, ["true"], input=bytes(1 << 20)).returncode == 0
    assert run(on, ["true"]).returncode == 0


def test_what_fails(on: Any) -> None:
    with pytest.raises(CalledProcessError) as caught:
        run(on, [*SHELL, "echo out; echo err >&2; exit 3"], capture_output=True, check=True)
    error = caught.value
    assert (error.returncode, error.output, error.stderr) == (3, b"out\n", b"err\n")
    assert run(on, [*SHELL, "kill -9 $$"]).returncode == -9
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        run(on, ["no-such-command"])
    for wrong in ({"pty": True}, {"input": b"", "stdin": PIPE}):
        with pytest.raises(ValueError, match=r"run_command|both"):
            run(on, ["true"], **wrong)
    with pytest.raises(ValueError, match="capture_output"):
        run(on, ["true"], stdout=PIPE, capture_output=True)


def test_a_cancelled_task_kills_it(on: Any, tmp_path: Path) -> None:
    name, began = tmp_path / "pid", tmp_path / "began"
    command = f"echo $$ > {name}; touch {began}; exec sleep 100"

    async def main() -> None:
        await on.cancelled(began, lambda: aio.run_command([*SHELL, command], stdout=PIPE))

    on.run(main)
    assert not support.alive(int(name.read_text()))


def test_many_at_once(on: Any) -> None:
    async def one() -> Any:
        return await aio.run_command(["cat"], input=b"x" * 100_000, capture_output=True)

    found = on.run(lambda: on.all(*[one] * 8))
    assert [len(done.stdout) for done in found] == [100_000] * 8
