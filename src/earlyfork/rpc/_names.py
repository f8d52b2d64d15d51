"""How functions are named for a worker, and why some can't be."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any


def name_of(function: Any, *, has_main: bool, has_target: bool) -> str | None:
    """The name by which a worker finds a function; None if it must travel by value.

    Raises:
        TypeError: it can't be called.
        ValueError: a name that is none, or a function that can't be found or sent.
    """
    if isinstance(function, str):
        if has_target:
            return function  # which names are exposed is for the worker to say
        module, _, path = function.partition(":")
        parts = [*module.split("."), *(path.split(".") if ":" in function else ())]
        if not all(part.isidentifier() for part in parts):
            raise ValueError(f"{function!r} is no function name: pkg.mod.func or pkg.mod:obj is")
        return function
    if not callable(function):
        raise TypeError(
            f"a function or its name is needed, not {function!r}; its arguments come after it: "
            "call(f, x) and not call(f(x))"
        )
    path = getattr(function, "__qualname__", "")
    if has_target:
        name = path.rpartition(".")[2]
        if not name:
            raise TypeError(f"a function or its name is needed, not {function!r}")
        return str(name)
    home = getattr(function, "__module__", None)
    if home and path and not (home == "__main__" and not has_main):
        found: Any = sys.modules.get(home)
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is function or (found == function and not _is_bound_to_object(function)):
            return f"{home}:{path}"
    if isinstance(function, FunctionType) and "cloudpickle" not in sys.modules:
        try:
            import cloudpickle  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
        except ImportError:
            raise ValueError(_why_not(path, home)) from None
    return None


def _is_bound_to_object(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    return owner is not None and not isinstance(owner, type)


def _why_not(path: str, home: str | None) -> str:
    if "<" in path:
        return (
            f"{path} can't be found by name in another process: lambdas and functions inside "
            "functions exist only here; move it to the top level of a module, or install "
            "cloudpickle"
        )
    if home == "__main__":
        return (
            f"{path} is defined in the main program, which a clean process does not contain; move "
            "it to a module, make the worker from a snapshot (earlyfork.template), or install "
            "cloudpickle"
        )
    return f"{home}:{path} is not this function: another process would find another"
