"""Code that replaces the system's functions: gevent, its like by hand, and audit hooks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run

needs_gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="gevent is not installed"
)
needs_cffi = pytest.mark.skipif(
    importlib.util.find_spec("cffi") is None, reason="cffi is not installed"
)
pure = pytest.mark.parametrize("pure", ["", "1"], ids=["C", "pure"])
origin = pytest.mark.parametrize("origin", support.ORIGINS)


def run(run_program: Run, name: str, *args: str, pure: str, **env: str) -> str:
    """Run a program of tests/programs/gevent to its end, and say what it printed."""
    path = support.python_path(support.programs("gevent"))
    changes = {"EARLYFORK_PURE": pure, "PYTHONPATH": path, **env}
    done = run_program(f"gevent/{name}.py", *args, env=changes, timeout=60)
    return support.output_of(done)


def gone(pids: str) -> bool:
    """The templates that a program has named are gone, now that it has ended."""
    return all(support.gone_within(int(pid)) for pid in pids.split())


@needs_gevent
@pure
@pytest.mark.parametrize("way", ["patched", "hub", "greenlet"])
def test_gevent_before_the_import(run_program: Run, pure: str, way: str) -> None:
    """No early template, one warning that says why, and processes all the same."""
    run(run_program, "before", way, pure=pure)


@needs_gevent
@pure
@origin
@pytest.mark.parametrize("way", ["unused", "used before"])
def test_gevent_after_the_import(run_program: Run, pure: str, origin: str, way: str) -> None:
    """Waiting lets other greenlets run, and nothing else does."""
    printed = run(run_program, "after", way, pure=pure, **support.ORIGINS[origin])
    assert gone(printed)


@needs_gevent
@pure
@pytest.mark.parametrize("loop", ["libev-cext", pytest.param("libuv-cffi", marks=needs_cffi)])
def test_gevent_in_a_template(run_program: Run, pure: str, loop: str) -> None:
    """A worker has a loop of its own; libuv's must be told of the fork."""
    assert gone(run(run_program, "template", pure=pure, GEVENT_LOOP=loop))


@needs_gevent
@pure
def test_gevent_in_a_snapshot(run_program: Run, pure: str) -> None:
    assert gone(run(run_program, "snapshot", pure=pure))


@needs_gevent
@pure
def test_gevent_in_a_worker(run_program: Run, pure: str) -> None:
    run(run_program, "worker", pure=pure)


@needs_gevent
@pure
@pytest.mark.parametrize("way", ["before", "after"])
@origin
def test_gevent_beside_the_start_method(run_program: Run, pure: str, way: str, origin: str) -> None:
    env = support.ORIGINS[origin]
    assert run(run_program, "start_method", way, pure=pure, **env) == "ok\n"


@pure
@origin
@pytest.mark.parametrize("way", ["before", "after", "template"])
def test_replaced_by_hand(run_program: Run, pure: str, origin: str, way: str) -> None:
    """What raises instead of doing its work is never called by earlyfork."""
    assert gone(run(run_program, "by_hand", way, pure=pure, **support.ORIGINS[origin]))


@pure
def test_an_audit_hook(run_program: Run, pure: str) -> None:
    """It sees each fork, in C as in Python, and its words reach who is refused."""
    env = support.with_work(EARLYFORK_PURE=pure)
    support.output_of(run_program("hooks/audit.py", env=env))


@pure
@origin
@pytest.mark.parametrize("way", ["before", "after", "there"])
def test_a_default_timeout_of_sockets(run_program: Run, pure: str, origin: str, way: str) -> None:
    env = support.with_work(EARLYFORK_PURE=pure, **support.ORIGINS[origin])
    done = run_program("hooks/default_timeout.py", way, env=env, timeout=60)
    assert done.stdout == "ok\n"
