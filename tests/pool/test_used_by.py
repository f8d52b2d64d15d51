"""Libraries that give their work to a pool: joblib, scikit-learn, Dask."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("joblib", "cloudpickle")
def test_joblib(run_program: Run) -> None:
    assert support.output_of(run_program("pool/joblib_backend.py", timeout=50)) == "all well\n"


@pytest.mark.slow
@needs("joblib", "cloudpickle", "sklearn")
def test_scikit_learn(run_program: Run) -> None:
    assert support.output_of(run_program("pool/grid_search.py", timeout=50)) == "all well\n"


@needs("dask", "cloudpickle")
def test_dask(run_program: Run) -> None:
    assert support.output_of(run_program("pool/dask_scheduler.py", timeout=50)) == "all well\n"
