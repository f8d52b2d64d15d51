"""The worker of `thumbs`: runs in its own process, reads pictures, writes small PNGs."""

import socket
import struct
import zlib


def main(sock: socket.socket) -> None:
    """Serve until the other side closes."""
    with sock.makefile("rwb") as stream:
        while len(head := stream.read(12)) == 12:
            width, height, factor = struct.unpack("!III", head)
            png = shrink(width, height, stream.read(width * height * 3), factor)
            stream.write(struct.pack("!I", len(png)) + png)
            stream.flush()


def shrink(width: int, height: int, rgb: bytes, factor: int) -> bytes:
    """Each pixel of the result is the mean of a square of `factor` by `factor`."""
    new_width, new_height = width // factor, height // factor
    lines = bytearray()
    for top in range(0, new_height * factor, factor):
        lines.append(0)  # PNG: this line is not filtered
        for left in range(0, new_width * factor, factor):
            for colour in range(3):
                total = 0
                for y in range(top, top + factor):
                    start = (y * width + left) * 3 + colour
                    total += sum(rgb[start : start + factor * 3 : 3])
                lines.append(total // (factor * factor))
    header = struct.pack("!IIBBBBB", new_width, new_height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(lines)))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
