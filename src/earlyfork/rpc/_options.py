"""The options of a call."""

from __future__ import annotations

from types import NoneType

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
