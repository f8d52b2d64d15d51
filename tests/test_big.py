"""Templates with much memory: huge pages, who gets them when, and what is shared then."""

from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING

import pytest

import support
from earlyfork._shared import huge

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run

PATH = support.python_path(support.programs("big"))
#: The program, and its arguments.
PROGRAMS = {
    "buffer": ("compact.py", "buffer"),
    "objects": ("compact.py", "objects"),
    "leisure": ("leisure.py",),
    "snapshot": ("snapshot.py",),
    "switched off": ("switched_off.py",),
}


@pytest.fixture(autouse=True)
def needs_huge_pages() -> None:
    if why_not := huge.missing():
        pytest.skip(f"huge pages: {why_not}")


@pytest.mark.parametrize("pure", ["", "1"], ids=["in C", "pure"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_template_with_much_memory(run_program: Run, name: str, pure: str) -> None:
    program, *arguments = PROGRAMS[name]
    env = {"PYTHONPATH": PATH, "EARLYFORK_PURE": pure}
    done = run_program(f"big/{program}", *arguments, env=env, timeout=60)
    assert support.output_of(done) == ""


@pytest.mark.parametrize("pure", ["", "1"], ids=["in C", "pure"])
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_the_kernel_refuses(run_program: Run, tmp_path: Path, error: str, pure: str) -> None:
    source = support.programs("big") / "refuses.c"
    command = ["cc", "-shared", "-fPIC", "-o", "refuses.so", str(source)]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    refuses = {"LD_PRELOAD": str(tmp_path / "refuses.so"), "REFUSES": str(getattr(errno, error))}
    env = {"PYTHONPATH": PATH, "EARLYFORK_PURE": pure, **refuses}
    support.output_of(run_program("big/refused.py", env=env, timeout=60))
