"""Runs each program of the start method's tests in both of its origins: see shared.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from mp import shared

import support

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["early", "launched"])
def origin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(origin: str, tmp_path: Path) -> shared.Say:
    """What a program prints: what it defines, and what it then does under a guard."""

    def run(defines: str, does: str, *args: str, **options: Any) -> str:
        source = shared.text(origin, defines, does)
        return support.output_of(support.run_script(source, *args, directory=tmp_path, **options))

    return run


@pytest.fixture
def run_file(origin: str, tmp_path: Path) -> shared.Say:
    """What a program of tests/programs/mp prints."""

    def run(name: str, *args: str, **options: Any) -> str:
        source = shared.program(origin, name)
        options = {"directory": tmp_path, "env": support.with_work(), **options}
        return support.output_of(support.run_script(source, *args, **options))

    return run
