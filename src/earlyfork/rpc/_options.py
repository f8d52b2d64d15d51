"""What a client, and a call, may be given."""

from __future__ import annotations

from types import NoneType
from typing import Any

from earlyfork import Process

#: What `cancel` may be.
POLICIES = ("soft", "kill", "abandon")


def check_options(timeout: float | None, cancel: str, grace: float) -> None:
    """Refuse options that mean nothing.

    Raises:
        ValueError: they do.
    """
    if cancel not in POLICIES:
        raise ValueError(f"cancel is one of {', '.join(POLICIES)}, not {cancel!r}")
    for name, value in (("timeout", timeout), ("grace", grace)):
        if not isinstance(value, (int, float, NoneType if name == "timeout" else int)):
            raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, or None, not {timeout!r}")
    if not grace >= 0:
        raise ValueError(f"grace is a number of seconds, not {grace!r}")


def check_client(process: Any, concurrency: Any, window: Any, on_event: Any) -> None:
    """Refuse what no client can be made of.

    Raises:
        TypeError, ValueError: it can't.
    """
    if not isinstance(process, Process):
        raise TypeError(
            f"a client takes a Process over, as earlyfork.new() makes it: not {process!r}"
        )
    for number in (concurrency, window):
        if not isinstance(number, int) or number < 1:
            raise ValueError(
                f"concurrency and window are numbers of calls, at least 1, and not {number!r}"
            )
    if on_event is not None and not callable(on_event):
        raise TypeError(f"on_event is a function of an event's arguments, not {on_event!r}")
