"""Make of an fd that was sent what it was in its owner: the other side of `_owner/files`."""

from __future__ import annotations

import io

from earlyfork._child.late_socket import socket_class
from earlyfork._shared import payloads

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any


def revive(fd: int, payload: bytes) -> object:
    """The object that the words of a frame FD describe. The object owns the fd."""
    kind, *details = payloads.unpack_words(payload)
    return REVIVE[kind](fd, *details)


def _socket_from(fd: int, timeout: str) -> _socket.socket:
    made = socket_class()(fileno=fd)
    made.settimeout(float(timeout) if timeout else None)
    return made


def _file_from(fd: int, layer: str, mode: str, position: str, *text: str) -> Any:
    made: Any = io.FileIO(fd, mode)
    if layer:
        made = getattr(io, layer)(made)
    if text:
        encoding, errors, newline, *flags, text_mode = text
        made = io.TextIOWrapper(
            made,
            encoding,
            errors,
            None if newline == "None" else newline,
            line_buffering="line" in flags,
            write_through="through" in flags,
        )
        if text_mode:
            made.mode = text_mode  # as open() does
    if position:
        made.seek(int(position))
    return made


def _connection_from(fd: int, readable: str, writable: str) -> Any:
    # Named in two parts: a plain import would drag multiprocessing into every frozen app.
    module = __import__("multiprocessing." + "connection", fromlist=["Connection"])
    return module.Connection(fd, readable=bool(readable), writable=bool(writable))


REVIVE: dict[str, Callable[..., object]] = {
    "fd": int,
    "socket": _socket_from,
    "file": _file_from,
    "connection": _connection_from,
}
