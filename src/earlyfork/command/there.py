"""What is done in the new process before it becomes the command. Nothing heavy is imported here."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Refused(OSError):  # noqa: N818 - an OSError of this process's own steps
    """The system refused one of the settings."""


def settle(settings: dict[str, Any]) -> None:
    """Give this process what the command shall have.

    In this order: what needs rights comes before the user changes, and groups before that.

    Raises:
        Refused: the system forbids it.
    """
    try:
        for name, setting in SETTINGS.items():
            if name in settings:
                setting(settings[name])
    except (OSError, ValueError) as error:
        sys.excepthook = _say_nothing  # the caller raises it
        number = getattr(error, "errno", None) or 22
        raise Refused(number, os.strerror(number)) from error


def _say_nothing(*_: object) -> None:
    return None


def _terminal(_: object) -> None:
    """Make the terminal at fd 0 the one that controls this session."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _limits(limits: list[tuple[int, int, int]]) -> None:
    import resource

    for number, soft, hard in limits:
        resource.setrlimit(number, (soft, hard))


#: What each setting does, in the order in which that is done.
SETTINGS: dict[str, Callable[[Any], object]] = {
    "terminal": _terminal,
    "process_group": lambda group: os.setpgid(0, group),
    "limits": _limits,
    "nice": lambda nice: os.setpriority(os.PRIO_PROCESS, 0, nice),
    "affinity": lambda cpus: os.sched_setaffinity(0, cpus),
    "groups": os.setgroups,
    "group": lambda group: os.setregid(group, group),
    "user": lambda user: os.setreuid(user, user),
}
