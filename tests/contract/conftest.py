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
    from collections.abc import Callable, Generator

ORIGINS = os.environ.get("EARLYFORK_TEST_ORIGINS", "exec new_exec forked").split()
#: Origins whose processes start as if the caller had started them now.
FRESH = [origin for origin in ORIGINS if origin in {"exec", "new_exec", "early"}]


def forked() -> earlyfork.Process:
    """A clone of a prepared process."""
    return earlyfork.new().require("work").fork()


def snapshot() -> earlyfork.Process:
    """A clone of a snapshot of this program (as_snapshot.py takes it)."""
    return sys.modules["__main__"].TEMPLATE.fork()


def remote() -> earlyfork.Process:
    """A process of a template that a relay speaks for."""
    return HOSTS[0].fork()


def connect() -> earlyfork.Process:
    """A template as if on another machine. It finds the tests' modules there, too."""
    from earlyfork import remote

    command = ["env", f"PYTHONPATH={':'.join(map(str, sys.path))}"]
    host = remote.connect(command, python=sys.executable).ready(30)
    for _ in range(2):  # its standbys stay, as the fixture knows of those of the default one
        host.fork().ready(10).close()
    return host


#: Made before the first test, since what a test leaves behind is killed.
HOSTS = [connect()] if "remote" in ORIGINS else []

MAKERS: dict[str, Callable[..., earlyfork.Process]] = {
    "exec": earlyfork.new,
    "early": earlyfork.new,
    "new_exec": earlyfork.new_exec,
    "forked": forked,
    "snapshot": snapshot,
    "remote": remote,
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


#: What is otherwise on another machine, by the beginnings of the tests' names.
NOT_FAR = {
    "test_a_rehearsal_leaves_no_trace": "who asks first gets a process that nothing was rehearsed in",
    "test_what_has_fds_takes_its_own": "no fds travel",
    "test_sockets_and_connections": "no fds travel",
    "test_bad_files_are_refused": "no fds travel",
    "test_a_clone_changes_hands": "it can't be handed over, and would leave its template waiting",
    "test_a_queued_standby": "the queue is over there",
    "test_a_standby_of_a_process": "the queue is over there",
    "test_a_stale_standby": "the queue is over there",
    "test_standbys_follow": "the queue is over there",
    "test_a_number_that_was_set": "the queue is over there",
    "test_an_owner_that_does_not_read": "a lost process can't be signalled over there",
    "test_workers_of_a_killed_template": "a lost process can't be signalled over there",
}


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Leave out what needs files to be passed where that is refused: on another machine."""
    callspec = getattr(pyfuncitem, "callspec", None)
    is_far = callspec is not None and callspec.params.get("make") == "remote"
    for begin, reason in NOT_FAR.items() if is_far else ():
        if pyfuncitem.name.startswith(begin):
            pytest.skip(reason)
    try:
        return (yield)
    except earlyfork.ProcessStateError as error:
        if is_far and "another machine" in str(error):
            error.__traceback__ = None
            pytest.skip("no files can be passed to another machine")
        raise
