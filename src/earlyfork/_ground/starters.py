"""Starters: processes that were executed to make a root template, and end when it is forked free.

They are direct children of this program, and each is waited for by its pid.
"""

from __future__ import annotations

import os
from posix import waitpid

#: Starters whose root nobody watches any more: waited for when earlyfork is next asked something.
_left: set[int] = set()


def leave(starter: int) -> None:
    """Stop watching a root whose starter may still run."""
    if collect(starter, block=False) is None:
        _left.add(starter)


def tidy() -> None:
    """Wait for those that have ended meanwhile."""
    for starter in list(_left):
        if collect(starter, block=False) is not None:
            _left.discard(starter)


def collect(starter: int, *, block: bool) -> int | None:
    """Wait for a starter: its exit status, None while it runs or if somebody else took it."""
    try:
        pid, status = waitpid(starter, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None
