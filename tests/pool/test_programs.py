"""Whole programs with pools: their origins, their ends, and what they live through."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run, Start


PEERS = Path(__file__).parent.parent / "stdlib" / "pool_tests.py"


@pytest.mark.parametrize("origin", support.ORIGINS)
def test_every_origin(run_program: Run, origin: str) -> None:
    done = run_program(
        "pool/everywhere.py",
        origin,
        env=support.ORIGINS[origin],
        flags=("-X", "dev", "-W", "error"),
    )
    assert support.output_of(done) == "all well\n"


@pytest.mark.parametrize("how", ["return", "del", "raise", "with", "_exit", "kill", "terminate"])
def test_a_program_that_ends_with_jobs_open(start_program: Start, how: str) -> None:
    program = start_program("pool/ends_with_open_jobs.py", how)
    pids = support.told(program)
    program.wait(support.PATIENCE)
    assert all(support.gone_within(pid) for pid in pids)
    support.wait_until(lambda: not support.session(program.pid))
    assert program.stderr is not None
    assert program.stderr.read() == ""


@pytest.mark.parametrize("how", ["twice", "shutdown twice"])
def test_ctrl_c_twice(start_program: Start, how: str) -> None:
    """The first ends what is waited for, the second the waiting; nothing is left."""
    program = start_program("pool/ends_with_open_jobs.py", how)
    support.told(program)
    support.told(program)
    for _ in range(50):
        if program.poll() is not None:
            break
        program.send_signal(signal.SIGINT)
        try:
            program.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    assert program.returncode == 4
    support.wait_until(lambda: not support.session(program.pid))


def test_interrupts(run_program: Run) -> None:
    done = run_program("pool/interrupted.py", timeout=support.PATIENCE * 3)
    assert support.output_of(done) == "all well\n"


def test_where_there_is_no_epoll(run_program: Run) -> None:
    assert support.output_of(run_program("pool/without_epoll.py")) == "all well\n"


def test_the_host_forks(run_program: Run) -> None:
    assert support.output_of(run_program("pool/host_forks.py")) == "all well\n"


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="quick", marks=pytest.mark.slow),
        pytest.param(("--slow",), id="all", marks=pytest.mark.long),
    ],
)
def test_cpythons_own_tests_of_its_pool(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = support.run_command(
        [sys.executable, str(PEERS), *options],
        directory=tmp_path,
        env=support.with_work(),
        stderr=subprocess.STDOUT,
        check=False,
        timeout=180,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stdout
    assert "left out: test_killed_child: " in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_soak(run_script: Run) -> None:
    source = (Path(__file__).parent.parent / "soak_pool.py").read_text()
    done = run_script(source, "3000", env=support.with_work(), timeout=110, check=True)
    assert support.output_of(done).endswith("all well\n")


@pytest.mark.frozen
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_frozen_app(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(support.program("pool/everywhere.py"))
    build = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--onefile", "app.py"]
    subprocess.run(build, cwd=tmp_path, env=support.clean_env(), capture_output=True, check=True)
    done = subprocess.run(
        [str(tmp_path / "dist" / "app"), "early"],
        cwd=tmp_path,
        env={"PATH": "/nowhere", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert support.output_of(done) == "all well\n"
