"""A library that shrinks pictures in a process of its own.

It knows nothing of the program that uses it: whether that has threads, is frozen, or has ever heard
of earlyfork. Its worker is named as a string only, so the program never imports it.
"""

import struct
from typing import NamedTuple

import earlyfork


class Picture(NamedTuple):
    """Rows of pixels, three bytes each."""

    width: int
    height: int
    rgb: bytes


def draw(width: int, height: int) -> Picture:
    """A picture of coloured waves."""
    rgb = bytearray()
    for y in range(height):
        for x in range(width):
            rgb += bytes(((x * x + y * y) >> 6 & 255, (x * 3) & 255, (y * 5) & 255))
    return Picture(width, height, bytes(rgb))


class Shrinker:
    """A process that shrinks pictures one after another."""

    def __init__(self) -> None:
        self.process = earlyfork.new()
        self._sock = self.process.run("thumbs_work.main")
        self._file = self._sock.makefile("rwb")

    def shrink(self, picture: Picture, factor: int) -> bytes:
        """The picture at one `factor`-th of its size, as PNG."""
        self._file.write(struct.pack("!III", picture.width, picture.height, factor) + picture.rgb)
        self._file.flush()
        (size,) = struct.unpack("!I", self._file.read(4))
        return self._file.read(size)

    def close(self) -> None:
        """Let the process end."""
        self._file.close()
        self._sock.close()
