"""The rights of a process: user, groups, capabilities, what it may never gain, what it can see.

They tell whether a process may be given what another one has: nobody gets back by asking what it
gave up. The system says what a process has; without /proc its user and group are all that is known.
"""

from __future__ import annotations

import os

#: What /proc tells of a process's rights; that it has a filter of system calls is among it.
_LINES = (
    *("Uid:", "Gid:", "Groups:", "NoNewPrivs:", "Seccomp:"),
    *("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"),
)


def of(pid: int | str) -> tuple[object, ...] | None:
    """The rights of a process, comparable; None where they can't be told.

    Args:
        pid: of the process, or "self".
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            found = tuple(line.split() for line in file if line.startswith(_LINES))
    except OSError:  # no /proc, or the process is gone
        return None
    # By name: a look at the directory itself may wait for ever, if the process serves that (FUSE).
    # In another namespace of users one has all capabilities, which are worth nothing outside.
    try:
        spaces = sorted(os.listdir(f"/proc/{pid}/ns"))
        seen = [
            os.readlink(f"/proc/{pid}/{name}") for name in ("root", *("ns/" + s for s in spaces))
        ]
    except OSError:  # it may not be looked at
        return found
    return (*found, *seen)


def may_have_ours(sender: tuple[int, int, int]) -> bool:
    """Whether a process has the rights of this one, as the kernel attests it.

    Args:
        sender: pid, real user and group of who sent a message.
    """
    pid, uid, gid = sender
    if (uid, gid) != (os.getuid(), os.getgid()):
        return False
    ours = of("self")
    return ours is None or ours == of(pid)
