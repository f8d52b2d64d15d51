"""Calls: ask a process something, and get the answer. Stands on `Process` as a user's layer would.

    client = earlyfork.rpc.Client(earlyfork.new())
    client.call("statistics.mean", [1, 2, 3])

This module is loaded in workers too, so each name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = not __name__  # never; but jedi believes a plain False, and completes no name
if TYPE_CHECKING:
    from earlyfork.rpc._calls import Call, Options, Stream
    from earlyfork.rpc._client import Client
    from earlyfork.rpc._errors import CallCancelled, CallTimeout, LostCall, WorkerDied
    from earlyfork.rpc._there import current, event, flush, retire

__all__ = [
    "Call",
    "CallCancelled",
    "CallTimeout",
    "Client",
    "LostCall",
    "Options",
    "Stream",
    "WorkerDied",
    "current",
    "event",
    "flush",
    "retire",
]

_HOMES = {
    **dict.fromkeys(("Call", "Client", "Options", "Stream"), "_client"),
    **dict.fromkeys(("CallCancelled", "CallTimeout", "LostCall", "WorkerDied"), "_errors"),
    **dict.fromkeys(("current", "event", "flush", "retire"), "_there"),
}


def _load(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'earlyfork.rpc' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"earlyfork.rpc.{home}"), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # to a type checker any name would exist
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
