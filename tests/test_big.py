"""Templates with much memory: huge pages, who gets them when, and what is shared then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support
from earlyfork._shared import huge

if TYPE_CHECKING:
    from support import Run

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
    path = support.python_path(support.programs("big"))
    env = {"PYTHONPATH": path, "EARLYFORK_PURE": pure}
    done = run_program(f"big/{program}", *arguments, env=env, timeout=60)
    assert support.output_of(done) == ""
