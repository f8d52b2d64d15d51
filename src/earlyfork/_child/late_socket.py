"""The stdlib's `socket`, loaded when somebody needs it.

To load `socket` (enums, selectors, collections) takes half as long as the whole start of an
interpreter, and a function that only sends, receives and closes does without. So in an interpreter
that was launched for one process, the class of the function's socket is the one in this file. It
has the half of `socket.socket` that is written in C. When `socket` is imported, or the function
uses its socket for more, the class gets the half that is written in Python, and takes the place of
the module's own class: it *is* `socket.socket`, and only fills up late.
"""

from __future__ import annotations

import _socket
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_full = True

# If a signal handler comes in the middle of the loading, it gets the half in C.


def _late(name: str) -> Callable[..., Any]:
    def method(self: EarlySocket, *args: object) -> Any:
        return getattr(EarlySocket if load() else _socket.socket, name)(self, *args)

    return method


def _late_property(name: str) -> Any:
    def value(self: EarlySocket) -> Any:
        return getattr(EarlySocket if load() else _socket.socket, name).__get__(self)

    return property(value)


class EarlySocket(_socket.socket):
    """`socket.socket`, of which only the half in C is there as yet."""

    __slots__ = ("__weakref__", "_closed", "_io_refs")

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self._io_refs = 0
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        if load():
            return getattr(self, name)
        raise AttributeError(f"'socket' object has no attribute {name!r}")

    # The methods that most functions use, as they are in `socket.socket`.

    def close(self) -> None:
        self._closed = True
        if self._io_refs <= 0:
            super().close()

    def detach(self) -> int:
        self._closed = True
        return super().detach()

    def __enter__(self) -> EarlySocket:  # noqa: PYI034 - Self came with 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Attributes that the half in C has, too, and methods that are looked up on the class only.
    family = _late_property("family")
    type = _late_property("type")
    __repr__ = _late("__repr__")
    __dir__ = _late("__dir__")
    __getstate__ = _late("__getstate__")


EarlySocket.__module__, EarlySocket.__name__, EarlySocket.__qualname__ = ("socket",) * 3
#: The layout and the names of the class stay: to set them again has effects from 3.13 on.
_KEPT = ("__slots__", "__module__", *EarlySocket.__slots__)
_OURS = [name for name in vars(EarlySocket) if name not in _KEPT]


class _Finder:
    """Stands on `sys.meta_path` until `socket` is imported, and has that fill the class here."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name != "socket" or target is not None:
            return None
        for finder in sys.meta_path:
            find: Any = getattr(finder, "find_spec", None)
            spec = None if finder is _Finder or find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """The loader of `socket`, which leaves no trace of itself in the module."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> Any:
        return self.real.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self.real
        self.real.exec_module(module)
        if getattr(vars(module).get("socket"), "__base__", None) is _socket.socket:
            _fill(vars(module))  # any other module is the user's, and only has the same name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def put_off() -> None:
    """Have `socket` loaded later, unless it is loaded already."""
    global _full
    if "socket" not in sys.modules:
        _full = False
        sys.meta_path.insert(0, _Finder)


def load() -> bool:
    """Load `socket`; False if it is being loaded further up this very stack."""
    if not _full:
        try:
            import socket  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error}: it can't be found any more; a function that gives up its view of the "
                "files must import it before",
                name=error.name,
            ) from None
    return _full


def ahead() -> None:
    """Load `socket` in a process that is about to be cloned, for all clones."""
    try:
        load()
    except Exception:  # no fds left, say: then each clone loads it by itself
        return


def _fill(space: dict[str, Any]) -> None:
    """Give the class of this file all that the module's class has, and put it in that one's place.

    This may be interrupted at any line, and done again. Whoever uses the class meanwhile finds each
    name, be it the old or the new one. New names come first, since those that are replaced make use
    of them.
    """
    global _full
    full = space["socket"]
    for ours in (False, True):
        for name, value in vars(full).items():
            if name in _KEPT or (name in _OURS) is not ours:
                continue
            function = getattr(value, "fget", value)
            for cell in getattr(function, "__closure__", None) or ():
                if cell.cell_contents is full:  # the cell that super() without arguments looks at
                    cell.cell_contents = EarlySocket
            setattr(EarlySocket, name, value)
    space["socket"] = EarlySocket
    _full = True
    for name in _OURS:
        if name not in vars(full) and name in vars(EarlySocket):
            delattr(EarlySocket, name)
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)


def socket_class() -> type[socket.socket]:
    """`socket.socket`, full or not."""
    if not _full:
        return EarlySocket  # type: ignore[return-value]
    import socket

    return socket.socket
