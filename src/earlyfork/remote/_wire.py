"""Frames between a relay here and its agent there: bytes in, messages out; no I/O.

Each frame has a magic, since whatever else writes to that stream (a shell's start file, a job in
the background) must be noticed and not obeyed. Both ends use this one text.
"""

from __future__ import annotations

from _struct import Struct  # `struct` itself is one file more to find

from earlyfork._shared.wire import ProtocolError

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"eR"
HEAD = Struct("!2sBII")  # magic, kind, channel, length
#: The longest payload; what is longer travels in several frames.
CHUNK = 1 << 16
#: How many bytes may be on their way to one channel until its reader has taken them: so much may
#: have to be kept at the other end, for each channel that nobody reads.
WINDOW = 1 << 18
#: Channel 0 is the connection itself, and 1 the template there; their numbers are never used again.
CONNECTION, TEMPLATE = 0, 1
#: Channels for what workers print.
STREAMS = {1: 0xFFFFFFF1, 2: 0xFFFFFFF2}

# Both ways.
DATA = 1  # bytes of a channel's socket
EOF = 2  # nothing more will be sent there
CLOSE = 3  # nobody holds the other end of that socket
CREDIT = 4  # so many bytes were taken, as a number of four bytes
PING = 5
PONG = 6
# Relay to agent.
FORK = 16  # the channel of the process to fork; the payload: generation, channel of the new process
LINK = 17  # the process is linked by what is sent next
DROP = 18  # nobody waits for the process
SIGNAL = 19
# Agent to relay.
HELLO = 32
STATUS = 33  # what the template says of a process
GONE = 34  # the template says no more of it

NUMBER = Struct("!I")
PAIR = Struct("!II")

#: What may come, by who reads it.
FROM_RELAY = frozenset((DATA, EOF, CLOSE, CREDIT, PING, PONG, FORK, LINK, DROP, SIGNAL))
FROM_AGENT = frozenset((DATA, EOF, CLOSE, CREDIT, PING, PONG, HELLO, STATUS, GONE))


def frame(kind: int, channel: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(MAGIC, kind, channel, len(payload)) + payload


class Decoder:
    """Turns what is read, however it is cut, into frames."""

    __slots__ = ("_allowed", "rest")

    def __init__(self, allowed: frozenset[int]) -> None:
        self._allowed = allowed
        #: The beginning of a frame, that is not whole yet.
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The frames that are whole by now: (kind, channel, payload).

        Raises:
            ProtocolError: something else has written to the stream; or a frame is none of that
                side's.
        """
        if self.rest:
            data = self.rest + data
            self.rest = b""
        at, end = 0, len(data)
        unpack, size = HEAD.unpack_from, HEAD.size
        allowed = self._allowed
        while end - at >= size:
            magic, kind, channel, length = unpack(data, at)
            if magic != MAGIC:
                raise ProtocolError(f"these are no bytes of the connection: {data[at : at + 80]!r}")
            if kind not in allowed or length > CHUNK:
                raise ProtocolError(f"the other side sends no frame {kind} of {length} bytes")
            after = at + size + length
            if after > end:
                break
            yield kind, channel, data[at + size : after]
            at = after
        self.rest = data[at:]
        if not MAGIC.startswith(self.rest[:2]):
            raise ProtocolError(f"these are no bytes of the connection: {self.rest!r}")
