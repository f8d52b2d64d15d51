"""Where the processes of the contract suite come from.

The suite runs for every origin. In the pytest process itself those that need no early template
can be had; test_origins.py runs the same files again in programs that have one, with snapshots,
and with other numbers of standbys. EARLYFORK_TEST_ORIGINS names the origins of one run.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import earlyfork

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGINS = os.environ.get("EARLYFORK_TEST_ORIGINS", "exec new_exec forked").split()
#: Origins whose processes start as if the caller had started them now.
FRESH = [origin for origin in ORIGINS if origin in {"exec", "new_exec", "early"}]


def forked() -> earlyfork.Process:
    """A clone of a prepared process."""
    return earlyfork.new().require("work").fork()


def snapshot() -> earlyfork.Process:
    """A clone of a snapshot of this program (as_snapshot.py takes it)."""
    return sys.modules["__main__"].TEMPLATE.fork()


MAKERS: dict[str, Callable[..., earlyfork.Process]] = {
    "exec": earlyfork.new,
    "early": earlyfork.new,
    "new_exec": earlyfork.new_exec,
    "forked": forked,
    "snapshot": snapshot,
}


@pytest.fixture(params=ORIGINS)
def make(request: pytest.FixtureRequest) -> Callable[[], earlyfork.Process]:
    """Makes a process of the origin under test."""
    return MAKERS[request.param]


@pytest.fixture(params=FRESH)
def make_now(request: pytest.FixtureRequest) -> Callable[..., earlyfork.Process]:
    """Makes a process that starts as if the caller had started it now."""
    return MAKERS[request.param]


@pytest.fixture
def early() -> bool:
    """Whether this program has an early template."""
    return earlyfork.status().early
