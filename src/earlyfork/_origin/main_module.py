"""The main program's own names as `__main__` of a snapshot, where something else has that name.

`python -m cProfile script.py` (profile, trace) runs the script in a dict, and `__main__` is the
profiler. What the snapshot runs by name is the script's.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def be_main(names: dict[str, Any]) -> None:
    """Make these the names of `__main__`: the very dict, which is the globals of its functions."""
    if names is not vars(sys.modules["__main__"]):
        sys.modules["__main__"] = _module(names)


def _module(names: dict[str, Any]) -> ModuleType:
    """A module whose names are those of a dict that is there already."""

    class Main(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if name == "__dict__":
                return names
            return names[name] if name in names else super().__getattribute__(name)

        def __setattr__(self, name: str, value: object) -> None:
            names[name] = value

        def __delattr__(self, name: str) -> None:
            try:
                del names[name]
            except KeyError:
                raise AttributeError(name) from None

    return Main("__main__")
