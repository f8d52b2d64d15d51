"""What becomes of all this when the host forks itself: by its own `os.fork()`, or by a snapshot."""

from __future__ import annotations

import os

from earlyfork._ground import platform
from earlyfork._origin import default
from earlyfork._owner import inside, linked, waiting

_pid = os.getpid()


def _after_fork_in_child() -> None:
    """A host's own child shares the templates; all other processes belong to its parent."""
    global _pid
    parent, _pid = _pid, os.getpid()  # getppid() may be a process between the two
    default.begin_anew()
    waiting.after_fork_in_child()
    linked.after_fork_in_child(parent)
    for process in inside.living():
        inside.begin_anew(process, parent)


def forget_everything() -> None:
    """In a snapshot: the handles that it inherited are its main program's, their fds closed."""
    inside.forget_all()
    linked.forget_all()
    default.forget_all()


def look_after() -> None:
    """From now on, see to a host that forks itself."""
    if platform.can_fork:
        os.register_at_fork(after_in_child=_after_fork_in_child)
