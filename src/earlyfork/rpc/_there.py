"""What functions in a worker may use, and how functions are found there.

It is loaded in each worker, so it must not import what is expensive.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Serves(Protocol):
        """A worker, as far as the functions in it are concerned."""

        def event(self, args: tuple[object, ...]) -> None: ...
        def flush(self) -> None: ...
        def current(self) -> Current | None: ...
        def retire(self) -> None: ...


class Current:
    """A call that runs: its `id`, and its `deadline` on the clock of `time.monotonic`, or None."""

    __slots__ = ("deadline", "id")

    def __init__(self, ident: int, deadline: float | None) -> None:
        self.id: int = ident
        self.deadline: float | None = deadline

    def __repr__(self) -> str:
        return f"<call {self.id}, deadline {self.deadline}>"


async def _coroutine() -> None:
    return None


_found = _coroutine()
COROUTINE = type(_found)
_found.close()
del _found


# -- names ---------------------------------------------------------------------------------------


def find(name: str) -> Any:
    """The object that `pkg.mod.func`, `pkg.mod:obj.attr` or a bare name of `__main__` means."""
    module, colon, path = name.partition(":")
    if not colon:
        module, _, path = name.rpartition(".")
    if module and module not in sys.modules:
        __import__(module)
    found = sys.modules[module or "__main__"]
    for part in path.split("."):
        found = getattr(found, part)
    return found


def find_target(name: str) -> Any:
    """The module or object that a target names."""
    if ":" in name:
        return find(name)
    if name not in sys.modules:
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            if error.name != name or "." not in name:
                raise
            return find(name)
    return sys.modules[name]


def exposed(target: Any, name: str) -> Any:
    """What a target exposes by this name.

    Raises:
        AttributeError: nothing.
    """
    listed = getattr(target, "__all__", None)
    if name[:1] == "_" or not name.isidentifier() or (listed is not None and name not in listed):
        raise AttributeError(f"{name!r} is not exposed: plain names without _ at the front are")
    return getattr(target, name)


# -- what functions in a worker may use ------------------------------------------------------------


def imports_something(frame: Any) -> bool:
    """Whether this code is called, directly or not, by an import.

    A module whose import is interrupted can leave others half loaded for good (asyncio does): calls
    are not ended there, but a moment later.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith(_HERE):
            return False  # below this is what was going on when the template was forked
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


# Taken from the code: a launched interpreter may know no file of this.
_HERE = imports_something.__code__.co_filename.rpartition("_there")[0]


class Here:
    """The worker that this process is."""

    worker: Serves | None = None


def _here() -> Serves:
    found = Here.worker
    if found is None:
        raise RuntimeError("this process is no worker of earlyfork.rpc")
    return found


def event(*args: object) -> None:
    """Tell the client something at any moment; it arrives in order with the answers.

    Raises:
        RuntimeError: this process is no worker.
        BrokenPipeError: the client is gone.

    From AnyEvent::Fork::RPC's `AnyEvent::Fork::RPC::event`.
    """
    _here().event(args)


def flush() -> None:
    """Wait until all events and answers have been handed to the system.

    What was handed over arrives, even if this process is killed right after that.

    From AnyEvent::Fork::RPC's `flush`.
    """
    _here().flush()


def current() -> Current | None:
    """The call that runs: its `id` and its `deadline` (`time.monotonic`); None outside of one."""
    return _here().current()


def retire() -> None:
    """End this worker with status 0 as soon as it has answered what has been sent to it so far."""
    _here().retire()
