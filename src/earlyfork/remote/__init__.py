"""Processes on other machines, over the stdin and stdout of any command; see docs/remote.md.

    host = earlyfork.remote.connect(["ssh", "host"])
    process = host.fork().require("statistics")

This module is loaded over there too, so each name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from earlyfork.remote._connect import connect, connect_fds, ship

__all__ = ["connect", "connect_fds", "ship"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'earlyfork.remote' has no attribute {name!r}")
    from earlyfork.remote import _connect

    value: object = getattr(_connect, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
