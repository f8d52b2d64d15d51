"""What a main module registers with `atexit` in the template: each worker runs it at its end.

With spawn each worker runs the main module itself, and so registers that itself.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ExitFunctions:
    """Those that were registered while the main module was run, in their order."""

    def __init__(self) -> None:
        self._found: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is registered meanwhile; `atexit` itself can't be asked."""
        real, real_unregister = atexit.register, atexit.unregister
        noting = True

        def register(function: Any, /, *args: Any, **kwargs: Any) -> Any:
            result = real(function, *args, **kwargs)  # refuses what can't be called
            if noting:
                self._found.append((function, args, kwargs))
            return result

        def unregister(function: Any, /) -> None:
            real_unregister(function)
            if noting:
                self._found = [entry for entry in self._found if entry[0] != function]

        atexit.register, atexit.unregister = register, unregister
        try:
            yield
        finally:
            # A module may have taken these by name.
            noting = False
            atexit.register, atexit.unregister = real, real_unregister

    def register(self) -> None:
        """In a worker: register them, but what every process of earlyfork's registers itself."""
        logging, weakref = sys.modules.get("logging"), sys.modules.get("weakref")
        finalize = getattr(weakref, "finalize", None)
        own = (getattr(logging, "shutdown", None), getattr(finalize, "_exitfunc", None))
        for function, args, kwargs in self._found:
            if function not in own:
                atexit.register(function, *args, **kwargs)
