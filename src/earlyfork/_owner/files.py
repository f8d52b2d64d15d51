"""What `send_fh` accepts: what becomes of each type there, and which types are refused.

| here | there |
|---|---|
| an int | the same file as an int |
| `socket.socket` | a `socket.socket` with the same timeout |
| `io.FileIO`, the buffered types, `io.TextIOWrapper` | the same layers, with all their settings |
| the file of `tempfile.NamedTemporaryFile` | the file inside; its name goes with the one here |
| a `Connection` of multiprocessing | a `Connection` |
| what keeps state of its own (TLS, gzip, a spooled file, a subclass) | refused with advice |

A file arrives where it stands: pending writes are written first, and the other side goes on to read
where reading has come to here. A pipe has no such place: it is refused if it was read ahead from.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Any

from earlyfork._ground import stack
from earlyfork._owner.own import Own, owned
from earlyfork._shared import payloads

#: The layers of a file, as the other side is told them.
BUFFERED = {
    io.BufferedReader: "BufferedReader",
    io.BufferedWriter: "BufferedWriter",
    io.BufferedRandom: "BufferedRandom",
}
NEWLINES = ("", "\n", "\r", "\r\n")


def describe(file: object) -> tuple[bytes, Own]:
    """What a file is, in words that travel, and a duplicate of its fd.

    Raises:
        TypeError: this has no fd, or keeps state in this process that can't travel.
        ValueError: it is closed or no valid fd, or what was read ahead can't be given back.
        OSError: no fd to be had for the duplicate.
    """
    fd, words = _fd_and_words(file)
    try:
        # F_DUPFD_CLOEXEC, and never one of the standard streams
        duplicate = owned(os.dup, fd)
    except OSError as error:
        import errno

        stack.pass_on(error)
        if error.errno == errno.EBADF:
            raise ValueError(f"{file!r} can't be sent: fd {fd} is not open") from error
        raise stack.named(error, f"{file!r} can't be sent") from error.__cause__
    except OverflowError as error:
        raise ValueError(f"{file!r} is no fd") from error
    return payloads.pack_words(words), duplicate


def _fd_and_words(file: Any) -> tuple[int, tuple[str, ...]]:
    if isinstance(file, bool):
        raise TypeError("a bool is no file; pass the fd as an int")
    if isinstance(file, int):
        if file < 0:
            raise ValueError(f"{file} can't be sent: it is no fd")
        return file, ("fd",)
    _refuse_tls(file)
    if _is_a(file, "tempfile", "SpooledTemporaryFile"):  # fileno() would make it another kind
        raise TypeError(f"{file!r} can't be sent: it lies in memory; send a TemporaryFile instead")
    if _is_a(file, "tempfile", "_TemporaryFileWrapper"):
        file = file.file
    if isinstance(file, io.IOBase):
        return _file(file)
    if _is_a(file, "multiprocessing.connection", "Connection"):
        fd = _fd_of(file)
        return fd, ("connection", "r" * file.readable, "w" * file.writable)
    if not hasattr(file, "fileno"):
        raise TypeError(f"send_fh takes files, sockets and fds, not {type(file).__name__}")
    fd = _fd_of(file)
    if hasattr(file, "gettimeout"):
        timeout = file.gettimeout()
        return fd, ("socket", "" if timeout is None else repr(float(timeout)))
    raise TypeError(
        f"{type(file).__name__} can't be sent: what it keeps in this process would be missing. "
        "If its fd alone is what the process needs, send its fileno()"
    )


def _is_a(file: object, module: str, name: str) -> bool:
    """Whether a file is of this class. If it is, the module of the class is loaded already."""
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(file, found)


def _refuse_tls(file: object) -> None:
    if _is_a(file, "ssl", "SSLSocket"):
        raise TypeError(
            "an SSLSocket can't be sent: its session lives in this process; "
            "send the plain socket before wrapping it"
        )


def _fd_of(file: Any) -> int:
    try:
        fd = file.fileno()
    except (OSError, ValueError) as error:
        stack.pass_on(error)
        raise ValueError(f"{file!r} can't be sent: {error}") from error
    if not isinstance(fd, int) or fd < 0:
        raise ValueError(f"{file!r} can't be sent: it is closed")
    try:
        os.fstat(fd)
    except OSError as error:
        stack.pass_on(error)
        raise ValueError(f"{file!r} can't be sent: {error}") from error
    return fd


# -- files of io -----------------------------------------------------------------------------------


def _file(file: io.IOBase) -> tuple[int, tuple[str, ...]]:
    if file.closed:
        raise ValueError(f"{file!r} can't be sent: it is closed")
    fd = _fd_of(file)
    text = file if type(file) is io.TextIOWrapper else None
    buffered: Any = file if text is None else text.buffer
    raw = buffered if type(buffered) is io.FileIO else getattr(buffered, "raw", None)
    layer = "" if raw is buffered else BUFFERED.get(type(buffered), "?")
    if type(raw) is not io.FileIO or layer == "?":
        _refuse_tls(getattr(raw, "_sock", None))
        raise TypeError(
            f"{type(file).__name__} can't be sent: it keeps in this process what the other would "
            f"miss. {_advice(file, raw)}"
        )
    words = [layer, raw.mode.replace("x", "w"), _position(file, buffered)]
    if text is not None:
        newline = _newline(text)
        words += [
            *(text.encoding, text.errors or "strict", "None" if newline is None else newline),
            *("line" * text.line_buffering, "through" * text.write_through),
            str(getattr(text, "mode", "")),
        ]
    return fd, ("file", *words)


def _advice(file: io.IOBase, raw: object) -> str:
    if type(raw).__name__ == "SocketIO":
        return "Send the socket itself"
    if type(file).__name__ in ("GzipFile", "BZ2File", "LZMAFile", "ZipExtFile"):
        return "Send the file that holds the compressed bytes, and open it there"
    return "Send the plain file that open() gives, or its fileno() if the fd alone is needed"


def _position(file: Any, buffered: Any) -> str:
    """Where the other side goes on to read; empty where files have no position, or for writers.

    What was written here and not yet handed to the system is handed to it now.

    Raises:
        ValueError: input was read ahead, and can't be given back.
    """
    if file.readable() and buffered.seekable():
        try:
            place = file.tell()  # writes what is pending, too
            file.seek(place)  # a text file lets go of text that it has read ahead
            return str(place)
        except OSError as error:
            stack.pass_on(error)
            raise ValueError(
                f"{file!r} can't be sent: {error}; read lines with readline(), not in a loop"
            ) from error
    file.flush()
    if file.readable() and (_decoded(file) or _read_ahead(buffered)):
        raise ValueError(
            f"{file!r} can't be sent: input was read ahead from it, and can't be given back; read "
            "it unbuffered, or pass on what was read"
        )
    return ""


def _read_ahead(buffered: Any) -> bytes:
    """What is in the buffer of a file that can't be asked for its position."""
    if type(buffered) is io.FileIO:
        return b""

    def nothing(_into: object) -> None:
        return None

    raw = buffered.raw
    raw.readinto = nothing  # so that peek() shows what is there already, and reads no more
    try:
        return bytes(buffered.peek(1))
    finally:
        del raw.readinto


def _texts(file: object) -> list[str]:
    """The texts that a text file refers to, after its encoding and before its errors."""
    return [found for found in gc.get_referents(file) if type(found) is str][1:-1]


def _newline(file: io.TextIOWrapper) -> str | None:
    """The newline= that a text file was opened with, or None for the default.

    It has no attribute for that. Of the texts that it refers to, it is the first after the encoding
    (CPython 3.10 to 3.13), unless that one is text that was read ahead.
    """
    texts = _texts(file)
    return texts[0] if texts and texts[0] in NEWLINES else None


def _decoded(file: object) -> bool:
    """Whether text was read from a file: then it refers to that, too."""
    if type(file) is not io.TextIOWrapper:
        return False
    return len(_texts(file)) > (_newline(file) is not None)
