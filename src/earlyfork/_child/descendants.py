"""A process's descendants, held by pidfds so that no signal hits a stranger.

Where the system has no pidfds or no list of children (macOS, old
kernels) a tree is empty: then the process itself is ended and its own children are not.
"""

from __future__ import annotations

import _signal
import os
import time

from earlyfork._shared.sockets import Fds

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterable

#: How long a tree may take to stop, in seconds; one whose disk hangs is taken as it is then.
PATIENCE = 0.2


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


def grab(pid: int) -> Fds:
    """Pidfds of all descendants of a process that is not reaped; the caller closes them.

    All are stopped, from the top down, and must be told to go on: who is stopped forks nobody.
    """
    if not hasattr(os, "pidfd_open"):  # pragma: no cover - macOS, BSD, kernels before 5.3
        return Fds()
    try:
        own = os.pidfd_open(pid)
    except OSError:  # no fds: what can be found without is the process itself, which others end
        return Fds()
    try:
        return _grab(pid, own, time.monotonic() + PATIENCE)
    finally:
        os.close(own)


def _grab(pid: int, pidfd: int, deadline: float) -> Fds:
    send((pidfd,), _signal.SIGSTOP)
    while _state(pid) in "RSD" and time.monotonic() < deadline:
        os.sched_yield()  # a fork that is under way ends first
    fds = Fds()
    for child in children_of(pid):
        try:
            fd = os.pidfd_open(child)
        except OSError:  # gone already
            continue
        if child in children_of(pid):  # after it was pinned, so the pid was not given away
            fds.append(fd)
            fds += _grab(child, fd, deadline)
        else:  # pragma: no cover - the pid was given away in the middle of these lines
            os.close(fd)
    return fds


def _state(pid: int) -> str:
    """A letter; T is stopped."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # gone, or a system without this file
        return "X"


def send(fds: Iterable[int], number: int) -> None:
    """Signal all of a tree that still live."""
    for fd in fds:
        try:
            _signal.pidfd_send_signal(fd, number)
        except OSError:  # gone, or another user's by now
            continue
