"""A process's descendants, held by pidfds so that no signal hits a stranger.

Part of the child's text. Where the system has no pidfds or no list of children (macOS, old
kernels) a tree is empty: then the process itself is ended and its own children are not.
"""

from __future__ import annotations

import _signal
import os


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += (int(word) for word in file.read().split())
    except OSError:  # gone, or a system without this list
        return found
    return found


def grab(pid: int) -> list[int]:
    """Pidfds of all descendants of a process that is not reaped; the caller closes them."""
    fds: list[int] = []
    if not hasattr(os, "pidfd_open"):  # pragma: no cover - macOS, BSD, kernels before 5.3
        return fds
    for child in children_of(pid):
        try:
            fd = os.pidfd_open(child)
        except OSError:  # gone already
            continue
        if child in children_of(pid):  # after it was pinned, so the pid was not given away
            fds.append(fd)
            fds += grab(child)
        else:  # pragma: no cover - the pid was given away in the middle of these lines
            os.close(fd)
    return fds


def send(fds: list[int], number: int) -> None:
    """Signal all of a tree that still live."""
    for fd in fds:
        try:
            _signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            continue
