"""The sources of modules, as they are sent to another machine."""

from __future__ import annotations

import pkgutil
import sys
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import importlib.machinery


def sources(name: str, left_out: tuple[str, ...] = ()) -> dict[str, tuple[bool, str, bytes]]:
    """The sources of a module, or of a package with all that is in it: for `_finder.add`.

    Raises:
        ModuleNotFoundError: there is no such module.
        ValueError: it has no source, or a part of it has none (an extension module, say).
    """
    found: dict[str, tuple[bool, str, bytes]] = {}
    wanted: list[tuple[str, list[str] | None]] = [(name, _path_above(name))]
    while wanted:
        name, path = wanted.pop()
        if left_out and name.startswith(left_out):
            continue
        spec = _spec(name, path)
        sent: dict[str, tuple[bool, str, bytes]] | None = getattr(spec.loader, "texts", None)
        if sent is not None:  # it came over a connection itself, and goes on as it came
            found |= {
                inner: text
                for inner, text in sent.items()
                if inner == name or inner.startswith(f"{name}.")
            }
            continue
        folders = spec.submodule_search_locations
        if spec.loader is not None:  # else it is a namespace, which is known by what is in it
            found[name] = (folders is not None, spec.origin or name, _compressed(spec))
        else:
            found[name] = (True, name, zlib.compress(b""))
        if folders is not None:
            below = [f"{name}.{module.name}" for module in pkgutil.iter_modules(folders)]
            wanted += [(name, [*folders]) for name in below if name != "earlyfork._quick"]
    return found


def _path_above(name: str) -> list[str] | None:
    """Where the submodules of the package are found that a module is in; None: it is in none."""
    path = None
    parts = name.split(".")
    for length in range(1, len(parts)):
        folders = _spec(".".join(parts[:length]), path).submodule_search_locations
        path = None if folders is None else [*folders]
    return path


def _spec(name: str, path: list[str] | None) -> importlib.machinery.ModuleSpec:
    """Where a module is found; a loaded one, which may have none, is not asked."""
    for finder in sys.meta_path:
        find: Any = getattr(finder, "find_spec", None)
        spec: importlib.machinery.ModuleSpec | None = (
            None if find is None else find(name, path, None)
        )
        if spec is not None:
            return spec
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _compressed(spec: importlib.machinery.ModuleSpec) -> bytes:
    get = getattr(spec.loader, "get_source", None)
    try:
        source = None if get is None else get(spec.name)
    except ImportError as error:
        raise ValueError(f"{spec.name} can't be sent: {error}") from error
    if source is None:
        raise ValueError(
            f"{spec.name} can't be sent to another machine: it has no source in Python "
            f"({spec.origin}); install it there"
        )
    return zlib.compress(source.encode(), 6)
