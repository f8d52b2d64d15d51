"""The stdlib's `socket`, loaded when somebody needs it.

Part of the child's text. To load it (enums, selectors, collections) takes half as long as all of an
interpreter's start, and a function that only sends and receives does without. So in an interpreter
that was launched, `sys.modules` has a placeholder at first, and the class of the function's socket
is here. An `import socket` makes the placeholder the module and gives the class the half that is
written in Python; so does any use of that half. It *is* `socket.socket`, and only fills up late.
"""

from __future__ import annotations

import _frozen_importlib as machinery
import _socket
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

#: What of the import system is used here without being promised; importlib.reload uses it too.
NEEDED = ("_ModuleLockManager", "_exec", "_find_spec")

#: What stands for the module until that is loaded.
_placeholder: ModuleType | None = None
_loading = False


# A signal handler may come in the middle of the loading: it gets the half in C.


def _late(name: str) -> Callable[..., Any]:
    def method(self: EarlySocket, *args: object) -> Any:
        return getattr(type(self) if load() else _socket.socket, name)(self, *args)

    return method


def _late_property(name: str) -> Any:
    def value(self: EarlySocket) -> Any:
        return getattr(type(self) if load() else _socket.socket, name).__get__(self)

    return property(value)


class EarlySocket(_socket.socket):
    """`socket.socket`, of which there is as yet the half in C."""

    __slots__ = ("__weakref__", "_closed", "_io_refs")

    def __init__(self, *args: int, **kwargs: int) -> None:
        super().__init__(*args, **kwargs)
        self._io_refs = 0
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        if load():
            return getattr(self, name)
        raise AttributeError(name)

    # What most functions do is as in `socket.socket`.

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

    # What C has too, and what is looked up on the class only.
    family = _late_property("family")
    type = _late_property("type")
    __repr__ = _late("__repr__")
    __dir__ = _late("__dir__")
    __getstate__ = _late("__getstate__")


EarlySocket.__module__, EarlySocket.__name__, EarlySocket.__qualname__ = ("socket",) * 3
_OURS = [name for name in vars(EarlySocket) if name not in ("__slots__", *EarlySocket.__slots__)]


def put_off() -> None:
    """Have `socket` loaded later, unless it is loaded already."""
    global _placeholder
    if "socket" not in sys.modules and all(hasattr(machinery, name) for name in NEEDED):
        _placeholder = sys.modules["socket"] = type(sys)("socket")
        _empty(_placeholder)


def _empty(placeholder: ModuleType) -> None:
    # Without __spec__, too: each import of a module that is there looks that up first.
    placeholder.__dict__.clear()
    placeholder.__dict__.update(__name__="socket", __getattr__=_look_up)


def _look_up(name: str) -> Any:
    """What is not in the placeholder (PEP 562)."""
    module = _placeholder or sys.modules["socket"]
    load()
    if name in module.__dict__:
        return module.__dict__[name]
    raise AttributeError(f"module 'socket' has no attribute {name!r}")


def load() -> bool:
    """Have the placeholder be the module; False if that goes on further up this very stack."""
    global _placeholder, _loading
    module = _placeholder
    if module is None:
        return True
    # As an import does it: another thread that imports `socket` now waits until all is there.
    with machinery._ModuleLockManager("socket"):  # type: ignore[attr-defined]
        if module is not _placeholder:  # another thread has done it
            return True
        if _loading:
            return False
        _loading = True
        try:
            spec = machinery._find_spec("socket", None)  # type: ignore[attr-defined]
            if spec is None:
                raise ModuleNotFoundError(
                    "No module named 'socket' can be found any more: whoever locks this process up "
                    "must import it before",
                    name="socket",
                )
            spec._initializing = True
            machinery._exec(spec, module)  # type: ignore[attr-defined]
            _fill(module.__dict__)
            spec._initializing = False
        except BaseException:  # too many open files, say: who asks again may fare better
            _empty(module)
            raise
        finally:
            _loading = False
        _placeholder = None
    return True


def ahead() -> None:
    """Load it in a forker, for all that it forks from now on."""
    try:
        load()
    except (ImportError, OSError):  # no fds left, say: each of them does it itself then
        return


def _fill(space: dict[str, Any]) -> None:
    """Give the class here what the one in the module has, and put it in the place of that one."""
    full = space["socket"]
    for name in _OURS:
        if name not in vars(full):
            delattr(EarlySocket, name)
    for name, value in vars(full).items():
        if name in EarlySocket.__slots__:
            continue
        function = getattr(value, "fget", value)
        for cell in getattr(function, "__closure__", None) or ():
            if cell.cell_contents is full:  # what super() without arguments looks at
                cell.cell_contents = EarlySocket
        setattr(EarlySocket, name, value)
    space["socket"] = EarlySocket
    del space["__getattr__"]


def socket_class() -> type[socket.socket]:
    """`socket.socket`, full or not."""
    if _placeholder is not None:
        return EarlySocket  # type: ignore[return-value]
    import socket

    return socket.socket
