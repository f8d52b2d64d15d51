"""Starters: processes that were executed to make a root template.

A starter forks the template, and ends. It is a direct child of this program, and is waited for by
its pid.
"""

from __future__ import annotations

import os
from posix import waitpid

#: All of them, with their exit status when they were waited for before somebody asked for it.
_starters: dict[int, int | None] = {}


def began(starter: int) -> None:
    """It was executed, and is waited for when earlyfork is next asked something."""
    _starters[starter] = None


def tidy() -> None:
    """Wait for those that have ended meanwhile."""
    for starter, code in tuple(_starters.items()):
        if code is None:
            _starters[starter] = _wait(starter, os.WNOHANG)


def collect(starter: int) -> int:
    """The exit status of a starter that is about to end; 0 if somebody else took it."""
    code = _starters.get(starter)
    if code is None:
        code = _wait(starter, 0)
    _starters.pop(starter, None)
    return code or 0


def _wait(starter: int, flags: int) -> int | None:
    try:
        pid, status = waitpid(starter, flags)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None
