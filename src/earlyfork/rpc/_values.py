"""Values and errors as they travel: pickled, with large buffers beside the pickle, and with fds.

Used by both halves. It is loaded in each worker, so it must not import what is expensive: the
unpickler in C needs no `pickle`.
"""

from __future__ import annotations

import sys
from _pickle import dumps, loads

from earlyfork.rpc._wire import arrived

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from earlyfork.rpc._wire import Frame

#: Buffers that are larger go beside the pickle: they are sent without being copied.
LARGE = 65536
MOST_BUFFERS = 0xFFFF
#: In a pickle: maybe the name of the module in which something is defined, maybe a text.
MAIN = b"__main__"


class Outside(list):  # type: ignore[type-arg]
    """The buffers that go beside a pickle."""

    def take(self, buffer: Any) -> bool:
        """Whether a buffer stays in the pickle."""
        view = buffer.raw()
        if view.nbytes <= LARGE or len(self) == MOST_BUFFERS:
            return True
        self.append(view)
        return False


class HasLarge(Exception):  # noqa: N818 - caught by whoever pickles
    """A value has a large buffer."""


def inside(buffer: Any) -> bool:
    """For values that are usually small: the buffers stay in the pickle, unless one is large."""
    if buffer.raw().nbytes > LARGE:
        raise HasLarge
    return True


def dump(
    value: object, *, has_main: bool = True
) -> tuple[bytes, Sequence[memoryview], Sequence[int]]:
    """A value as a pickle, buffers beside it, and duplicates of fds that are the caller's to close.

    Args:
        value: the value.
        has_main: whether what is defined in this program's `__main__` can be found over there.

    Raises:
        ValueError: it can't, and is in the value.
        TypeError, pickle.PicklingError and others: the value can't be pickled.
    """
    # What holds a file only by the number of its fd would be pickled without complaint.
    if "multiprocessing.connection" not in sys.modules:
        outside = Outside()
        try:
            body = dumps(value, 5, buffer_callback=outside.take)
        except Exception:  # `_files` finds out whether there is another way
            return _with_files(value, has_main=has_main)
        if has_main or MAIN not in body:
            return body, outside, ()
    return _with_files(value, has_main=has_main)


def _with_files(
    value: object, *, has_main: bool
) -> tuple[bytes, Sequence[memoryview], Sequence[int]]:
    from earlyfork.rpc import _files

    return _files.dump(value, Outside, has_main=has_main)


def load(frame: Frame, loads: Any = loads) -> Any:
    """The value that a frame brings.

    Args:
        frame: the frame.
        loads: unpickles it.

    Raises:
        OSError: it has fds, and there was no room for them here.
        Exception: whatever unpickling raises.
    """
    body, buffers, fds = frame[3:]
    if not fds:
        return loads(body, buffers=buffers) if buffers else loads(body)
    if not all(batch.whole for batch in fds):
        import errno

        for batch in fds:
            batch.close()
        raise OSError(errno.EMFILE, "too many open files here to receive those that were sent")
    before, arrived.fds = arrived.fds, fds
    try:
        return loads(body, buffers=buffers)
    finally:
        arrived.fds = before
        for batch in fds:
            batch.close()


# -- errors ------------------------------------------------------------------------------------


def pack_error(error: BaseException) -> bytes:
    """An exception as it travels: itself and its cause if they can be pickled, and words."""
    import traceback

    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_HERE):
        tb = tb.tb_next  # the reader's own code begins after these
    try:
        text = "".join(traceback.format_exception(type(error), error, tb))
        summary = "".join(traceback.format_exception_only(type(error), error)).strip()
    except Exception as odd:  # whatever its __str__ does
        text = summary = f"{type(error).__name__} (whose text raised {type(odd).__name__})"
    name = _class_of(error)
    cause = error.__cause__ if error.__suppress_context__ else error.__context__
    return dumps(
        (_pickled(error), None if cause is None else _pickled(cause), name, summary, text), 5
    )


# Taken from the code: a launched interpreter may know no file of this.
_HERE = pack_error.__code__.co_filename.rpartition("_values")[0]


def _pickled(error: BaseException) -> bytes | None:
    try:
        return dumps(error, 5)
    except Exception:
        return None


def unpack_error(body: bytes, loads: Any = loads) -> BaseException:
    """A fresh exception of its own type, or a RemoteError; the traceback there is its cause."""
    from earlyfork import RemoteError

    pickled, pickled_cause, name, summary, text = loads(body)
    told = RemoteError(summary, name, text)
    told.__cause__ = _rebuilt(pickled_cause, "", loads)
    found = _rebuilt(pickled, name, loads)
    if found is None:
        return told
    found.__cause__ = told
    return found


def _rebuilt(pickled: bytes | None, name: str, loads: Any) -> BaseException | None:
    if pickled is None:
        return None
    try:
        found = loads(pickled)
    except BaseException:  # an odd __init__, a class that is not here: the words are left
        return None
    if not isinstance(found, BaseException):
        return None
    return found if not name or _class_of(found) == name else None


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
