"""The Python stack above the caller: which line of the user's led here.

Frames of earlyfork's own and of the import system do not count.
"""

from __future__ import annotations

import _signal
import os
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from types import FrameType


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of earlyfork: the code's file is in the package, at any depth."""
    return frame.f_code.co_filename.startswith(_PACKAGE)


# Taken from the code of this file, not from `__file__`: in a frozen app the two differ.
_PACKAGE = os.path.dirname(os.path.dirname(is_ours.__code__.co_filename)) + os.sep


def warn(text: str) -> None:
    """Warn with an EarlyForkWarning, at the line of the user's code that led here."""
    import warnings

    from earlyfork._ground.errors import EarlyForkWarning

    level, frame = 1, sys._getframe()
    while frame.f_back is not None:
        imports = frame.f_code.co_filename.startswith("<frozen importlib")
        if not imports and not is_ours(frame):
            break
        level += not imports  # warnings does not count frames of the import system
        frame = frame.f_back
    warnings.warn(text, EarlyForkWarning, stacklevel=level)


def main_names() -> dict[str, object]:
    """The names of the main program: those of the innermost `__main__` that led here.

    Under a profiler or a tracer (`python -m cProfile script.py`) that is not the module of this
    name, which is the profiler: the script is run in a dict of its own.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "__main__":
            return frame.f_globals
        frame = frame.f_back
    return vars(sys.modules["__main__"])


def caller(depth: int) -> tuple[str, int]:
    """File and line of the code that called the function that asks."""
    frame = sys._getframe(depth + 1)
    return frame.f_code.co_filename, frame.f_lineno


def from_handler(error: BaseException) -> bool:
    """Whether a signal handler raised this: it says nothing of what was being done.

    TimeoutError is an OSError, and a handler may raise anything.
    """
    codes = set()
    for number in _signal.valid_signals():
        handler = _signal.getsignal(number)
        if callable(handler):  # a function, a method, or an object that is called
            called = handler if hasattr(handler, "__code__") else type(handler).__call__
            codes.add(getattr(called, "__code__", None))
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code in codes:
            return True
        at = at.tb_next
    return False


def pass_on(error: BaseException) -> None:
    """Let go through what a signal handler raised, where the system's errors are looked at."""
    if from_handler(error):
        raise error


def named(error: OSError, what: str) -> OSError:
    """The error with words for what could not be done; what a signal handler raised as it is."""
    if from_handler(error):
        return error
    found = OSError(error.errno, f"{what}: {error.strerror or error}")
    found.__cause__ = error
    return found
