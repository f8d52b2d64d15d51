"""The system's own functions, whatever other code has put in their place.

gevent and eventlet replace functions that wait, and what closes files, by ones that let other
greenlets run meanwhile; tests replace clocks. None of that may happen in the middle of a fork, in a
forker, which waits for something else, or while a lock is held. `os` hands on what it finds in
`posix`, so what is replaced there is not replaced here. Of other modules a copy is made, if need
be: built-in ones have no state of their own.
"""

from __future__ import annotations

import time
from posix import close, fork, getpid, kill, posix_spawn, read, waitid, waitpid, write

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = [
    "Clock", "close", "fork", "getpid", "is_replaced", "kill", "own", "posix_spawn", "read",
    "waitid", "waitpid", "write",
]  # fmt: skip


def is_replaced(module: ModuleType, name: str) -> bool:
    """Whether a name of a built-in module is something else by now, or is gone."""
    found = getattr(module, name, None)
    if type(found) is type:
        return found.__module__ != module.__name__
    return type(found) is not type(len)


def own(module: ModuleType, name: str) -> Any:
    """What a built-in module itself has by that name; None: nothing."""
    if is_replaced(module, name):
        import _frozen_importlib

        spec: Any = module.__spec__
        module = _frozen_importlib.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, name, None)


class Clock:
    """The clock that only goes forward, in a class: freezegun looks for it in modules."""

    monotonic: Callable[[], float] = own(time, "monotonic")
