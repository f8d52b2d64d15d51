"""Our end of a command's terminal, as files: its end is an end of file, closing it ends input."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
from typing import Any

#: What a terminal takes for the end of input. Twice, since the first may only end an open line.
_END_OF_INPUT = b"\x04\x04"


class Output(io.FileIO):
    """What the command writes. The kernel says EIO when nobody has the other end any more."""

    def readinto(self, buffer: Any, /) -> int | None:
        """Read; nothing at the end."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read; nothing at the end."""
        if size is None or size < 0:
            return self.readall()
        try:
            return super().read(size) or b""
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return b""

    def readall(self) -> bytes:
        """Read to the end."""
        parts = []
        while part := self.read(1 << 16):
            parts.append(part)
        return b"".join(parts)


class Input(io.FileIO):
    """What the command reads."""

    def close(self) -> None:
        """Type the end of input, as far as there is room for it."""
        if not self.closed:
            with contextlib.suppress(OSError):  # the command is gone
                poller = select.poll()
                poller.register(self.fileno(), select.POLLOUT)
                if poller.poll(0):
                    self.write(_END_OF_INPUT)
        super().close()


def files(master: int, bufsize: int) -> tuple[Any, Any]:
    """A file to write to the command, and one to read from it; owns the fd."""
    output = Output(master, "rb")
    try:
        source = Input(os.dup(master), "wb")
    except BaseException:
        output.close()
        raise
    if bufsize == 0:
        return source, output
    size = bufsize if bufsize > 1 else io.DEFAULT_BUFFER_SIZE
    return io.BufferedWriter(source, size), io.BufferedReader(output, size)


def is_end(file: Any, error: OSError) -> bool:
    """Whether an error is the end of what a command writes to its terminal."""
    raw = getattr(getattr(file, "buffer", file), "raw", file)
    return error.errno == errno.EIO and isinstance(raw, Output)
