"""Starters: processes that were executed to make a root template.

A starter forks the template, and ends. It is a direct child of this program, and is waited for by
its pid.
"""

from __future__ import annotations

import os
from posix import waitpid

#: Starters whose template nobody watches any more. They are waited for by `tidy`, when earlyfork is
#: next asked to launch something or for its status.
_left: set[int] = set()


def leave(starter: int) -> None:
    """Let go of a starter that may still run."""
    if collect(starter, block=False) is None:
        _left.add(starter)


def tidy() -> None:
    """Wait for the starters that were let go and have ended meanwhile."""
    for starter in list(_left):
        if collect(starter, block=False) is not None:
            _left.discard(starter)


def collect(starter: int, *, block: bool) -> int | None:
    """Wait for a starter: its exit status; None while it runs; 0 if somebody else waited for it."""
    try:
        pid, status = waitpid(starter, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None
