"""Pools, executors and managers, the standard library's and others'."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mp.shared import Say


def test_pool(run: Say) -> None:
    out = run(
        "def square(x):\n    return x * x",
        """\
with ctx.Pool(3) as pool:
    print(pool.map(square, range(6)), pool.apply(square, (7,)))
pool = ctx.Pool(2, maxtasksperchild=1)
print(pool.map(square, range(4), chunksize=1))
pool.close()
pool.join()
""",
    )
    assert out == "[0, 1, 4, 9, 16, 25] 49\n[0, 1, 4, 9]\n"


def test_executor(run_file: Say) -> None:
    assert run_file("executor.py") == "[0, 1, 4] [5]\nthree\n25\n"


def test_manager(run: Say) -> None:
    out = run(
        "def put(d, k):\n    d[k] = os.getpid() != 0",
        """\
with ctx.Manager() as manager:
    d = manager.dict()
    workers = [ctx.Process(target=put, args=(d, k)) for k in range(3)]
    for p in workers: p.start()
    for p in workers: p.join()
    print(sorted(d.items()))
""",
    )
    assert out == "[(0, True), (1, True), (2, True)]\n"


def test_daemons_may_have_children(run: Say) -> None:
    out = run(
        """\
def add(x):
    with ctx.Pool(2) as pool:
        return sum(pool.map(inner, range(x)))
def inner(x):
    with ctx.Pool(1) as pool:
        return pool.apply(int, (x,))
""",
        """\
with ctx.Pool(2) as pool:
    print(pool.map(add, [2, 4]))
""",
    )
    assert out == "[1, 6]\n"


# --- what others wrote ----------------------------------------------------------------------------


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed"
    )


@needs("joblib")
@pytest.mark.parametrize("backend", ["multiprocessing", "loky"])
def test_joblib(run: Say, backend: str) -> None:
    out = run(
        "def square(x):\n    return x * x",
        f"""\
mp.set_start_method("earlyfork")
import joblib
with joblib.parallel_config(backend="{backend}"):
    print(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(i) for i in range(4)))
""",
        timeout=40,
    )
    assert out == "[0, 1, 4, 9]\n"


@needs("pebble")
def test_pebble(run_file: Say) -> None:
    assert run_file("pebble_pool.py") == "[0, 1, 4, 9]\nended in time\n25\n"


@needs("numpy")
def test_numpy_is_loaded_once(run: Say) -> None:
    out = run(
        "import numpy\ndef total(a):\n    return float(a.sum())",
        """\
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, mp_context=ctx) as executor:
    print(list(executor.map(total, [numpy.ones(5), numpy.zeros(3)])))
""",
    )
    assert out == "[5.0, 0.0]\n"
