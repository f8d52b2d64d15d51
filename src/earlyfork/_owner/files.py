"""What `send_fh` accepts: an fd and a few words that let the other side make the same of it."""

from __future__ import annotations

import io
import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

from earlyfork._ground.fds import above_streams
from earlyfork._shared import payloads

if TYPE_CHECKING:
    from earlyfork._shared.sockets import Fds


def describe(file: object, into: Fds) -> bytes:
    """What a file is, in words that travel; a duplicate of its fd is added to `into`.

    Raises:
        TypeError: this is nothing that has an fd, or its state lies in this process (TLS).
        ValueError: it is closed or no valid fd.
        OSError: no fd to be had for the duplicate.
    """
    fd, words = _fd_and_kind(file)
    try:
        # F_DUPFD_CLOEXEC, and never one of the standard streams
        duplicate = os.dup(fd)
    except OSError as error:
        import errno

        if error.errno == errno.EBADF:
            raise ValueError(f"{file!r} can't be sent: fd {fd} is not open") from error
        raise OSError(error.errno, f"{file!r} can't be sent: {error.strerror}") from error
    except OverflowError as error:
        raise ValueError(f"{file!r} is no fd") from error
    into.append(above_streams(duplicate))
    return payloads.pack_words(words)


def _fd_and_kind(file: object) -> tuple[int, tuple[str, ...]]:
    if isinstance(file, bool):
        raise TypeError("a bool is no file; pass the fd as an int")
    if isinstance(file, int):
        if file < 0:
            raise ValueError(f"{file} can't be sent: it is no fd")
        return file, ("fd",)
    if type(file).__name__ == "SSLSocket":
        raise TypeError(
            "an SSLSocket can't be sent: its session lives in this process; "
            "send the plain socket before wrapping it"
        )
    if isinstance(file, io.IOBase):
        return _file(file)
    connections = sys.modules.get("multiprocessing.connection")
    if connections is not None and isinstance(file, connections.Connection):
        try:
            fd = file.fileno()
        except OSError as error:
            raise ValueError(f"{file!r} can't be sent: it is closed") from error
        return fd, ("connection", "r" * file.readable, "w" * file.writable)
    fileno = getattr(file, "fileno", None)
    if fileno is None:
        raise TypeError(f"send_fh takes files, sockets and fds, not {type(file).__name__}")
    try:
        fd = fileno()
    except (OSError, ValueError) as error:
        raise ValueError(f"{file!r} can't be sent: {error}") from error
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"{file!r} can't be sent: it is closed")
    if isinstance(file, socket.socket):
        return fd, ("socket",)
    try:
        return fd, ("socket" if stat.S_ISSOCK(os.fstat(fd).st_mode) else "fd",)
    except OSError as error:
        raise ValueError(f"{file!r} can't be sent: {error}") from error


def _file(file: io.IOBase) -> tuple[int, tuple[str, ...]]:
    if file.closed:
        raise ValueError(f"{file!r} can't be sent: it is closed")
    try:
        fd = file.fileno()
    except OSError as error:
        raise ValueError(f"{file!r} can't be sent: it has no fd") from error
    if file.writable():
        file.flush()  # what was written before comes before what the other side writes
    mode = (("r" if file.readable() else "") + ("w" if file.writable() else "")) or "r"
    raw = {"rw": "r+", "r": "r", "w": "w"}[mode]
    flags = getattr(file, "mode", raw)
    if isinstance(flags, str) and "a" in flags:
        raw = "a+" if "r" in mode else "a"
    if isinstance(file, io.TextIOBase):
        buffering = 1 if getattr(file, "line_buffering", False) else -1
        # newline= can't be asked of a text file before 3.? other than by its private state; the
        # default (universal newlines) is what nearly all files have.
        return fd, (
            "file",
            raw,
            getattr(file, "encoding", "") or "",
            getattr(file, "errors", "") or "",
            "None",
            str(buffering),
        )
    buffering = 0 if isinstance(file, io.RawIOBase) else -1
    return fd, (
        "file",
        raw.replace("r+", "r+b") if "+" in raw else raw + "b",
        "",
        "",
        "None",
        str(buffering),
    )
