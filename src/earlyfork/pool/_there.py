"""What a pool's worker does beside its calls: its beginning and its end.

It is loaded in each worker, so it must not import what is expensive.
"""

from __future__ import annotations

import sys

from earlyfork.rpc._there import event, find
from earlyfork.rpc._values import pack_error

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any

#: The event by which a worker says that it has begun, and is ready for jobs.
BEGUN = "earlyfork.pool: begun"


class Setup:
    """What a worker runs first: the pool's `init`, and then the word that it has begun.

    `init` and `exit` are names, or functions that travel by value.
    """

    def __init__(self, init: Any, exit_: Any) -> None:
        self.init = init
        self.exit = exit_

    def __reduce__(self) -> tuple[Any, ...]:
        return Setup, (self.init, self.exit)

    def __call__(self, *given: object) -> Any:
        init = find(self.init) if isinstance(self.init, str) else self.init
        result = None if init is None else init(*given)
        if hasattr(result, "__await__"):
            return self.after(result)
        self.ready()
        return None

    async def after(self, result: Any) -> None:
        """The same for an `init` that is a coroutine."""
        await result
        self.ready()

    def ready(self) -> None:
        """From now on jobs may come, and `exit` is called at the worker's orderly end."""
        if self.exit is not None:
            import atexit

            atexit.register(find(self.exit) if isinstance(self.exit, str) else self.exit)
        event(BEGUN)


def call_each(function: Any, chunk: list[tuple[Any, ...]]) -> tuple[list[Any], bytes | None]:
    """Call a function with each of these arguments: the results, and what ended them early."""
    call = find(function) if isinstance(function, str) else function
    results = []
    for arguments in chunk:
        try:
            results.append(call(*arguments))
        except BaseException as error:
            names = sys.modules.get("earlyfork.rpc._errors")
            if names is not None and isinstance(error, names.CallCancelled):
                raise
            return results, pack_error(error)
    return results, None
