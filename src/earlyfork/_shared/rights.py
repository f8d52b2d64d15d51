"""The rights of a process: user, groups, root directory, capabilities, what it may never gain.

A process may ask another one for processes only if it has the same rights: nobody gets back by
asking what it gave up. What a process has, the system says; without /proc, user and group are all
that is known of it.
"""

from __future__ import annotations

import os

#: The lines of /proc/PID/status that tell of rights. "Seccomp:" tells whether there is a filter of
#: system calls.
_LINES = (
    *("Uid:", "Gid:", "Groups:", "NoNewPrivs:", "Seccomp:"),
    *("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"),
)


def of(pid: int | str) -> tuple[object, ...] | None:
    """The rights of a process, in a form that can be compared; None where they can't be told.

    Args:
        pid: of that process, or "self".
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            found = tuple(line.split() for line in file if line.startswith(_LINES))
    except OSError:  # no /proc, or the process is gone
        return None
    try:
        root = os.stat(f"/proc/{pid}/root/")
    except OSError:  # it may not be looked at
        return found
    return (*found, root.st_dev, root.st_ino)


def may_have_ours(sender: tuple[int, int, int]) -> bool:
    """Whether the process that has sent a message has the same rights as this one.

    Args:
        sender: pid, real user and real group of that process, as the kernel attests them.
    """
    pid, uid, gid = sender
    if (uid, gid) != (os.getuid(), os.getgid()):
        return False
    ours = of("self")
    return ours is None or ours == of(pid)
