"""When a process that is being prepared puts its memory into huge pages of its own accord.

A fork of it then takes hardly longer than one of a small process (`_shared/huge.py` says how). This
is done on its own time: while nobody asks it for anything, and in steps of 2 MB.
"""

from __future__ import annotations

import os

from earlyfork._shared import huge
from earlyfork._shared.sockets import POLLIN, poll

#: So many milliseconds nobody has asked for anything.
QUIET = 100
#: So many bytes of memory there are. Less than this makes a fork less than twice as long.
LEAST = 32 << 20


def at_leisure(comm: int) -> bool:
    """Put memory of this process into huge pages until somebody asks for something.

    Only memory that no other process shares is taken. What it shares with its forker would be there
    twice, and so would what its children share with it.

    Args:
        comm: the fd of the socket to its owner, who asks there.

    Returns:
        Whether that is worth a second try.
    """

    def asked(patience: int = 0) -> bool:
        return bool(poll([(comm, POLLIN)], patience))

    return asked(QUIET) or (_anonymous() >= LEAST and huge.compact(asked))


def _anonymous() -> int:
    """How much memory of no file there is, in bytes."""
    try:
        with open("/proc/self/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except (OSError, ValueError):  # no /proc
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
