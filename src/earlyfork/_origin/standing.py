"""What a command takes over from its caller beside surroundings: limits, niceness, CPUs.

A template has those that the program had when it was made. Where the caller has others by now, a
process of its own takes them on before it becomes the command.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from earlyfork._child.executing import stand
from earlyfork._ground import platform, stack
from earlyfork._owner import inside
from earlyfork._owner.process import Process
from earlyfork._shared.quick import quick

if TYPE_CHECKING:
    from earlyfork._origin.above import Above

#: How many limits the kernel knows.
_LIMITS = 16
#: What is called in the process.
_STAND = f"{stand.__module__}.{stand.__qualname__}"


def of(pid: int) -> object:
    """That of a process, as something to compare; None where it can't be told.

    Args:
        pid: of the process; 0: of the calling thread.
    """
    if not platform.tells_limits:
        return None
    try:
        if quick is not None:
            return quick.standing(pid)
        import resource

        limits = [resource.prlimit(pid, number) for number in range(_LIMITS)]
        return limits, os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid)
    except OSError as error:  # this program is another user by now
        stack.pass_on(error)
        return None


def steps(template: Process | Above) -> list[object]:
    """What is to be called in a process of this template, as in `prepare`; nothing as a rule."""
    if not isinstance(template, Process):  # what its forker has, nobody knows here
        return []
    then = inside.standing(template, of)
    if then is None or of(0) == then:
        return []
    import resource

    limits = [(number, *resource.getrlimit(number)) for number in range(_LIMITS)]
    nice, cpus = os.getpriority(os.PRIO_PROCESS, 0), [*os.sched_getaffinity(0)]
    return [(_STAND, limits, nice, cpus)]
