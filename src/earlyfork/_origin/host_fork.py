"""What becomes of handles and templates when the host forks itself: `os.fork()`, a snapshot."""

from __future__ import annotations

import os

from earlyfork._ground import platform
from earlyfork._origin import default
from earlyfork._owner import inside, linked, waiting

_pid = os.getpid()


def _after_fork_in_child() -> None:
    """In the host's own child: it shares the templates; all other processes are its parent's."""
    global _pid
    parent, _pid = _pid, os.getpid()  # not getppid(): that may be a process between the two
    default.begin_anew()
    waiting.after_fork_in_child()
    linked.after_fork_in_child(parent)
    for process in inside.living():
        inside.begin_anew(process, parent)


def forget_everything() -> None:
    """In a snapshot: forget the handles that it inherited, which are its main program's.

    Their fds are closed in the snapshot by then.
    """
    inside.forget_all()
    linked.forget_all()
    default.forget_all()


def look_after() -> None:
    """From now on, see to it when the host forks itself."""
    if platform.can_fork:
        os.register_at_fork(after_in_child=_after_fork_in_child)
