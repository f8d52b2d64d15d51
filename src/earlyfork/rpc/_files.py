"""Open files and sockets inside values: they are duplicated here, and made again over there.

Loaded when a value has something that pickle alone refuses.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from posix import close
from types import AsyncGeneratorType, FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any

from earlyfork.rpc._wire import MOST_FDS, Fds, arrived

if TYPE_CHECKING:
    from collections.abc import Callable

import pickle  # isort: skip - last, since only this file needs all of it

_BUFFERED = (io.BufferedReader, io.BufferedWriter, io.BufferedRandom)


def dump(
    value: object, new_outside: Callable[[], Any], *, has_main: bool
) -> tuple[bytes, Any, list[int]]:
    """As `_values.dump`, with files; by cloudpickle where that is there and pickle fails.

    Args:
        value: the value.
        new_outside: makes the list that buffers beside the pickle are taken into.
        has_main: whether this program's `__main__` is found over there.
    """
    stream = io.BytesIO()
    outside = new_outside()
    pickler = _Pickler(stream, outside, has_main=has_main)
    try:
        pickler.dump(value)
        return stream.getvalue(), outside, pickler.give()
    except Exception as error:
        pickler.close()
        first = error
    if isinstance(value, (GeneratorType, AsyncGeneratorType)):
        raise TypeError(
            "a generator can't be sent; a function that returns one is called by `stream`"
        ) from first
    try:
        import cloudpickle  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise first from None
    outside = new_outside()
    try:
        body = cloudpickle.dumps(value, protocol=5, buffer_callback=outside.take)
    except Exception:
        raise first from None
    return body, outside, []


class _Pickler(pickle.Pickler):
    def __init__(self, stream: io.BytesIO, outside: Any, *, has_main: bool) -> None:
        super().__init__(stream, 5, buffer_callback=outside.take)
        self._has_main = has_main
        self._fds: list[int] = []

    def give(self) -> list[int]:
        fds, self._fds = self._fds, []
        return fds

    def close(self) -> None:
        Fds(self.give()).close()

    def _add(self, fd: int) -> int:
        self._fds.append(os.dup(fd))
        return len(self._fds) - 1

    def reducer_override(self, value: Any) -> Any:
        if not self._has_main and isinstance(value, (type, FunctionType)):
            if value.__module__ == "__main__":
                raise ValueError(
                    f"{value.__qualname__} is defined in the main program, which a clean process "
                    "does not contain, and so are objects of it; move it to a module, make the "
                    "worker from a snapshot (earlyfork.template), or install cloudpickle"
                )
            return NotImplemented
        if isinstance(value, io.IOBase) and not isinstance(value, (io.BytesIO, io.StringIO)):
            return _file, self._describe(value)
        if _is_a(value, "ssl", "SSLSocket"):
            raise TypeError("an SSLSocket can't be sent: its session lives in this process")
        if _is_a(value, "socket", "socket"):
            if value.fileno() < 0:
                raise ValueError(f"{value!r} can't be sent: it is closed")
            return _socket, (self._add(value.fileno()), value.gettimeout())
        if _is_a(value, "multiprocessing.connection", "Connection"):
            return _connection, (self._add(value.fileno()), value.readable, value.writable)
        return NotImplemented

    def _describe(self, file: Any) -> tuple[Any, ...]:
        if file.closed:
            raise ValueError(f"{file!r} can't be sent: it is closed")
        text = file if type(file) is io.TextIOWrapper else None
        buffered = file if text is None else file.buffer
        raw = buffered if type(buffered) is io.FileIO else getattr(buffered, "raw", None)
        if type(raw) is not io.FileIO or (raw is not buffered and type(buffered) not in _BUFFERED):
            raise TypeError(
                f"{type(file).__name__} can't be sent: it keeps in this process what the other "
                "would miss; send the plain file or socket that it stands on"
            )
        place = None
        if file.readable() and buffered.seekable():
            place = file.tell()  # and not where reading ahead has come to
            file.seek(place)
        elif not file.readable():
            file.flush()
        layer = "" if raw is buffered else type(buffered).__name__
        words = (text.encoding, text.errors, text.line_buffering) if text is not None else None
        return self._add(raw.fileno()), layer, raw.mode.replace("x", "w"), place, words


def _is_a(value: object, module: str, name: str) -> bool:
    """Whether a value is of this class. If it is, the module of the class is loaded already."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)


# -- over there ----------------------------------------------------------------------------------


def _take(index: int) -> int:
    fds = arrived.fds
    batch, place = divmod(index, MOST_FDS)
    if batch >= len(fds) or place >= len(fds[batch].numbers):
        raise OSError(errno.EBADF, "a value names an fd that did not come with it")
    return fds[batch].take(place)


def _owned(index: int, make: Any) -> Any:
    fd = _take(index)
    try:
        return make(fd)
    except BaseException:
        close(fd)
        raise


def _socket(index: int, timeout: float | None) -> Any:
    import socket

    found = _owned(index, lambda fd: socket.socket(fileno=fd))
    found.settimeout(timeout)
    return found


def _file(index: int, layer: str, mode: str, place: int | None, words: Any) -> Any:
    found: Any = _owned(index, lambda fd: io.FileIO(fd, mode))
    if layer:
        found = getattr(io, layer)(found)
    if words is not None:
        encoding, errors, line_buffering = words
        found = io.TextIOWrapper(found, encoding, errors, line_buffering=line_buffering)
        found.mode = mode.replace("b", "")
    if place is not None:
        found.seek(place)
    return found


def _connection(index: int, readable: bool, writable: bool) -> Any:  # noqa: FBT001 - from the pickle
    # Named in two parts: a plain import would drag multiprocessing into every frozen app.
    module = __import__("multiprocessing." + "connection", fromlist=["Connection"])
    return _owned(index, lambda fd: module.Connection(fd, readable=readable, writable=writable))
