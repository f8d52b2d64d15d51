"""The shim, compiled once per run of the tests, where there is a compiler."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from support import output_of, run_command

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library that lets calls fail."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux":
        pytest.skip("LD_PRELOAD with this shim is Linux's")
    if compiler is None:
        pytest.skip("no C compiler here: no calls are made to fail")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = HERE / "shim.c"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", library, source, "-ldl"]
    assert not output_of(run_command(command))
    return library
