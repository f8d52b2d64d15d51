"""Whole programs that make calls: their origins, their ends, and what they live through."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run, Start


@pytest.mark.parametrize("flags", [(), ("-X", "dev", "-W", "error")], ids=["plain", "dev"])
@pytest.mark.parametrize("origin", support.ORIGINS)
def test_every_origin(run_program: Run, origin: str, flags: tuple[str, ...]) -> None:
    done = run_program("rpc/everywhere.py", origin, env=support.ORIGINS[origin], flags=flags)
    assert support.output_of(done) == "all well\n"


@pytest.mark.parametrize("how", ["return", "raise", "_exit", "kill"])
def test_a_program_that_ends_with_calls_open(start_program: Start, how: str) -> None:
    program = start_program("rpc/ends_with_open_calls.py", how)
    pid = support.told(program)
    program.wait(support.PATIENCE)
    assert support.gone_within(pid)
    support.wait_until(lambda: not support.session(program.pid))
    assert program.stderr is not None
    assert program.stderr.read() == ""


@pytest.mark.skipif(
    importlib.util.find_spec("cloudpickle") is None, reason="cloudpickle is not installed"
)
def test_functions_of_the_main_program(run_program: Run) -> None:
    assert support.output_of(run_program("rpc/functions_of_main.py")) == "8 1 [0, 1, 2]\nTrue 2\n"


def test_objects_of_the_main_program_are_refused(run_program: Run) -> None:
    """At the call, and in words; what only looks like one passes."""
    said = support.output_of(run_program("rpc/functions_of_main.py", "without cloudpickle"))
    assert [line.partition(",")[0] for line in said.splitlines()] == [
        "Point is defined in the main program",
        "Point is defined in the main program",
        "helper is defined in the main program",
    ]


def test_interrupts(run_program: Run) -> None:
    assert support.output_of(run_program("rpc/interrupted.py")) == "all well\n"


@pytest.mark.parametrize("seed", range(2))
def test_random_kills(run_program: Run, seed: int) -> None:
    done = run_program("rpc/random_kills.py", str(seed), "25", timeout=support.PATIENCE * 3)
    assert support.output_of(done) == "all well\n"


def test_many_calls(run_program: Run) -> None:
    """Three calls in each round, and two more now and then."""
    done = run_program("rpc/many_calls.py", "33000", timeout=support.PATIENCE * 4)
    assert support.output_of(done) == "all well\n"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_million_calls(run_program: Run) -> None:
    assert (
        support.output_of(run_program("rpc/many_calls.py", "330000", timeout=580)) == "all well\n"
    )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_four_gigabytes(run_program: Run) -> None:
    """Sizes are no ints of C: beside the pickle, and (since 0 bytes of it are left) in no way cut."""
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    if free < 14 << 20:
        pytest.skip(f"{free >> 20} GB of memory are available, and 14 are needed")
    done = run_program("rpc/four_gigabytes.py", timeout=280)
    assert support.output_of(done) == "all well\n"


@pytest.mark.frozen
@pytest.mark.long  # the frozen app of the pool, which stands on calls, is built every day
@pytest.mark.timeout(240)
def test_frozen_app(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(support.program("rpc/everywhere.py"))
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--onefile", "app.py"]
    subprocess.run(build, cwd=tmp_path, env=support.clean_env(), capture_output=True, check=True)
    for origin, env in support.ORIGINS.items():
        done = subprocess.run(
            [str(tmp_path / "dist" / "app"), origin],
            cwd=tmp_path,
            env={
                "PATH": "/nowhere",
                "TMPDIR": os.environ.get("TMPDIR", str(tmp_path)),
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert support.output_of(done) == "all well\n", origin
