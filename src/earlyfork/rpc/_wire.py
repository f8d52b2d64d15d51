"""What travels between a client and its worker: frames as bytes and fds. Does no I/O by itself.

Used by both halves. It is loaded in each worker, so it must not import what is expensive.

A frame is a head (HEAD), the sizes of its buffers, a body, and the buffers. At most 253 fds ride on
its first byte; more of them ride on frames FDS before it. `Inbox` makes frames of what was read,
and `Outbox` has what is still to be written. A signal handler may raise in either of them, between
any two steps of Python (Ctrl-C). So what a system call returns is kept by the same step in C that
made the call, and each change of state is one assignment: whoever comes next goes on from there.

It is longer than others, since each thing is there twice: the usual frame, and all others.
"""

from __future__ import annotations

import _socket
from _struct import Struct
from _thread import _local
from collections import deque
from posix import close

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    #: kind, ref, id, body, buffers, fds
    Frame = tuple[int, int, int, Any, Sequence[Any], tuple["Fds", ...]]

#: kind, number of fds, number of buffers, ref, id, length of the body
HEAD = Struct("<BBHIQQ")
SIZE = Struct("<Q")
#: The same for a frame without buffers and fds: its kind, ref, id, length. There are most of them.
PLAIN = Struct("<IIQQ")
pack_plain, _unpack_plain = PLAIN.pack, PLAIN.unpack_from

# To the worker. `ref` of CALL, POST and STREAM is the number of a function that DEFINE gave a name;
# 0: the function is in the body. LIMIT comes just before its call; CREDIT has its number as `ref`.
HELLO, DEFINE, CALL, POST, STREAM, LIMIT, CREDIT, CANCEL, CLOSE = range(1, 10)
# To the client. `ref` of EVENT and ITEM counts them, so that none is taken for another one.
RESULT, ERROR, CANCELLED, EVENT, ITEM, BEGUN, RETIRED, FAILED = range(16, 24)
#: Both ways: fds for the frame that follows.
FDS = 32
#: Never sent: the worker is gone.
DIED = 0
KINDS = frozenset((*range(HELLO, CLOSE + 1), *range(RESULT, FAILED + 1), FDS))

#: The kernel passes no more at once.
MOST_FDS = 253
MOST_BUFFERS = 0xFFFF
#: No frame is longer than this: a head that says so is none.
LONGEST = 1 << 40
#: What is read at once, and what is left of a frame that is worth a read into its own memory.
CHUNK = 65536
SPACE = _socket.CMSG_SPACE(MOST_FDS * 4)
FLAG = _CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
#: These arguments of recvmsg, for `map`.
CHUNKS, SPACES, FLAGS = (CHUNK,), (SPACE,), (FLAG,)
_TRUNCATED = _socket.MSG_CTRUNC
DONTWAIT = _socket.MSG_DONTWAIT
NOSIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)


class BadFrame(Exception):  # noqa: N818 - the drivers tell users in their own words
    """What was read is no frame."""


class Fds:
    """Fds that came with one frame, each owned by this until it is taken."""

    __slots__ = ("numbers", "whole")

    def __init__(self, numbers: Iterable[int], *, whole: bool = True) -> None:
        self.numbers = list(numbers)
        #: Whether all that were sent have arrived: here may have been no room for more.
        self.whole = whole

    def take(self, index: int) -> int:
        """One of them, which is the caller's from now on."""
        fd, self.numbers[index] = self.numbers[index], -1
        if fd < 0:
            raise BadFrame("an fd is taken twice")
        return fd

    def close(self) -> None:
        """Close those that nobody has taken."""
        while self.numbers:
            fd = self.numbers.pop()
            if fd >= 0:
                close(fd)

    def __del__(self) -> None:
        self.close()


class _Arrived(_local):
    """The fds of the frame that this thread is unpickling."""

    fds: tuple[Fds, ...] = ()


arrived = _Arrived()


def head(kind: int, ident: int = 0, ref: int = 0, body: bytes = b"") -> bytes:
    """A frame without buffers and fds."""
    return pack_plain(kind, ref, ident, len(body)) + body


def _arrived(ancillary: Iterable[tuple[int, int, bytes]], flags: int) -> Fds:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            found += memoryview(data[: len(data) & ~3]).cast("i").tolist()
    return Fds(found, whole=not flags & _TRUNCATED)


def single(record: tuple[bytes, Any, int, Any]) -> Frame | None:
    """What recvmsg has returned, as a frame, if it is a whole one without buffers and fds.

    That is the usual case of all that `Inbox` does. The caller looks at the kind: of a frame that
    has buffers or fds, that is none.
    """
    data, ancillary, flags, _ = record
    if len(data) < 24 or ancillary or flags & _TRUNCATED:
        return None
    kind, ref, ident, length = _unpack_plain(data)
    if 24 + length != len(data):
        return None
    return kind, ref, ident, data[24:], (), ()


class _Large:
    """A frame that arrives in pieces, each read to where it belongs."""

    def __init__(
        self, known: tuple[int, int, int], sizes: tuple[int, ...], begun: bytes, batches: Any
    ) -> None:
        self.known = known
        self.batches = batches
        try:
            self.parts = [bytearray(size) for size in sizes]
        except MemoryError as error:
            raise BadFrame(f"no room for a frame of {sum(sizes)} bytes") from error
        self.total = sum(sizes)
        #: How much is there, and what was read since: one object, to be replaced in one step.
        self.progress: tuple[int, list[Any]] = (len(begun), [])
        at = 0
        for part in self.parts:
            piece = begun[at : at + len(part)]
            part[: len(piece)] = piece
            at += len(piece)

    def filled(self) -> int:
        base, reads = self.progress
        total: int = base + sum([read[0] for read in reads])
        if len(reads) > 64:
            self.progress = (total, [])
        return total

    def room(self) -> list[memoryview]:
        """Where the next bytes go, up to the end of this frame."""
        skip = self.filled()
        views = []
        for part in self.parts:
            if skip < len(part):
                views.append(memoryview(part)[skip:])
                if len(views) == 16:
                    break
            skip = max(0, skip - len(part))
        return views


class Inbox:
    """Bytes and fds in, frames out.

    `peek` shows the next frame; when it has been dealt with, `state = after` lets go of it. Whoever
    is interrupted in between sees the same frame again.
    """

    __slots__ = ("after", "state")

    def __init__(self) -> None:
        #: Bytes; how many of them are done with; what was read since; fds by their frames; a frame
        #: that arrives in pieces; fds that came ahead of their frame.
        self.state: Any = (b"", 0, deque(), (), None, ())
        self.after: Any = self.state

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of what was read."""
        data, at, fresh, _, large, _ = self.state
        return at == len(data) and not fresh and large is None

    def read(self, sock: Any, flags: int = 0) -> bool:
        """Read once; False at the end of the stream.

        Raises:
            OSError: as recvmsg does; nothing was read then.
        """
        large = self.state[4]
        if large is None:
            fresh = self.state[2]
            fresh.extend(map(sock.recvmsg, CHUNKS, SPACES, (_CLOEXEC | flags,)))
            return len(fresh[-1][0]) > 0
        room = large.room()
        if not room:
            return True
        reads = large.progress[1]
        reads.extend(map(sock.recvmsg_into, (room,), SPACES, (_CLOEXEC | flags,)))
        return bool(reads[-1][0])

    def feed(self, data: bytes, fds: Sequence[int] = (), *, whole: bool = True) -> None:
        """Take in bytes that somebody else has read, and the fds that came with them."""
        large = self.state[4]
        if large is not None and data:
            at = 0
            for view in large.room():
                piece = data[at : at + len(view)]
                view[: len(piece)] = piece
                at += len(piece)
            large.progress[1].append((at,))
            data = data[at:]
            self.peek()
            if not data:
                return
            raise BadFrame("bytes behind the end of a frame that was read by itself")
        batch = (Fds(fds, whole=whole),) if fds or not whole else ()
        done, at, fresh, batches, large, ahead = self._absorbed()
        self.state = (bytes(done[at:]) + data, 0, fresh, batches + batch, large, ahead)

    def _absorbed(self) -> Any:
        data, at, fresh, batches, large, ahead = self.state
        if not fresh:
            return self.state
        if len(fresh) == 1 and at == len(data):
            data = fresh[0][0]
        else:
            data = b"".join((data[at:], *[record[0] for record in fresh]))
        for record in fresh:
            if record[1] or record[2] & _TRUNCATED:
                batches = (*batches, _arrived(record[1], record[2]))
        found: Any = (data, 0, deque(), batches, large, ahead)
        self.state = found
        return found

    def row(self, kind: int) -> list[Frame]:
        """All that comes next of one kind, as far as it is whole and has neither buffers nor fds.

        As with `peek`, `after` is the state without them. This is the usual case of that.
        """
        found: list[Frame] = []
        data, at, fresh, batches, large, ahead = self.state
        if large is not None or ahead:
            self.after = self.state
            return found
        if fresh:
            data, ancillary, flags, _ = fresh[0]
            if len(fresh) > 1 or at < len(self.state[0]) or ancillary or flags & _TRUNCATED:
                data, at, fresh, batches, _, _ = self._absorbed()
            else:
                at, fresh = 0, deque()
        size = len(data)
        while (begin := at + 24) <= size:
            this, ref, ident, length = _unpack_plain(data, at)
            end = begin + length
            if this != kind or end > size:
                break
            found.append((kind, ref, ident, data[begin:end], (), ()))
            at = end
        self.after = (data, at, fresh, batches, None, ())
        return found

    def peek(self) -> Frame | None:
        """The next frame, if it is whole; `after` is the state without it.

        Raises:
            BadFrame: this is none.
        """
        if self.state[4] is not None:
            return self._peek_large(self.state[4])
        data, at, fresh, batches, _, ahead = self._absorbed()
        begin = at + 24
        if begin > len(data):
            return None
        kind, fds, buffers, ref, ident, length = HEAD.unpack_from(data, at)
        end = begin + length
        if buffers or fds or ahead or end > len(data) or kind not in KINDS:
            return self._peek_rare(kind, fds, buffers, ref, ident, length)
        self.after = (data, end, fresh, batches, None, ())
        return kind, ref, ident, data[begin:end], (), ()

    def _peek_rare(
        self, kind: int, fds: int, buffers: int, ref: int, ident: int, length: int
    ) -> Frame | None:
        data, at, fresh, batches, _, ahead = self.state
        begin = at + HEAD.size + buffers * SIZE.size
        if kind not in KINDS or length > LONGEST or fds > MOST_FDS:
            raise BadFrame(f"no frame begins with {bytes(data[at : at + HEAD.size])!r}")
        if begin > len(data):
            return None
        sizes = [size for (size,) in SIZE.iter_unpack(data[at + HEAD.size : begin])]
        if length + sum(sizes) > LONGEST:
            raise BadFrame("no frame has so many bytes")
        own, rest = batches[: fds > 0], batches[fds > 0 :]
        if fds and not own:
            raise BadFrame("fds were announced and did not come")
        if fds and len(own[0].numbers) != fds and own[0].whole:
            raise BadFrame(f"{len(own[0].numbers)} fds came where {fds} were announced")
        end = begin + length + sum(sizes)
        if end > len(data):
            if end - len(data) > CHUNK // 2:
                known = (kind, ref, ident)
                large = _Large(known, (length, *sizes), data[begin:], ahead + own)
                self.state = self.after = (b"", 0, deque(), rest, large, ())
                return self._peek_large(large)
            return None
        if kind == FDS:
            self.state = (data, end, fresh, rest, None, ahead + own)
            return self.peek()
        parts = []
        place = begin + length
        for size in sizes:
            parts.append(bytearray(data[place : place + size]))
            place += size
        self.after = (data, end, fresh, rest, None, ())
        return kind, ref, ident, data[begin : begin + length], parts, ahead + own

    def _peek_large(self, large: _Large) -> Frame | None:
        if large.filled() < large.total:
            return None
        body, *parts = large.parts
        kind, ref, ident = large.known
        self.after = (b"", 0, deque(), self.state[3], None, ())
        return kind, ref, ident, memoryview(body), parts, large.batches


class Outbox:
    """Packets that are to be written, in order.

    A packet is [bytes or list of them, fds or None, how much each write of it has written].
    """

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[list[Any]] = deque()

    def put(
        self,
        kind: int,
        ident: int,
        ref: int,
        body: bytes,
        buffers: Sequence[memoryview],
        fds: Sequence[int],
        before: bytes = b"",
    ) -> None:
        """Take in a frame. Its fds are the outbox's from now on; they are closed when written."""
        if before:
            self.queue.append([before, None, [0]])
        while len(fds) > MOST_FDS:
            some, fds = fds[:MOST_FDS], fds[MOST_FDS:]
            packet = HEAD.pack(FDS, MOST_FDS, 0, 0, ident, 0)
            self.queue.append([[packet], Fds(some), [0]])
        first = HEAD.pack(kind, len(fds), len(buffers), ref, ident, len(body))
        sizes = b"".join([SIZE.pack(view.nbytes) for view in buffers])
        self.queue.append([[first + sizes, body, *buffers], Fds(fds) if fds else None, [0]])

    def write(self, sock: Any, flags: int) -> bool:
        """Write once; whether nothing is left.

        Raises:
            OSError: as sendmsg does; nothing was written then.
        """
        queue = self.queue
        parts, fds, counts = packet = queue[0]
        done = sum(counts)
        if type(parts) is bytes:
            if not done:
                counts.extend(map(sock.send, (parts,), (flags,)))
                if counts[-1] == len(parts):
                    queue.popleft()
                    return not queue
                return False
            parts = (parts,)
        ancillary: list[Any] = []
        if fds is not None and not done:
            import array

            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds.numbers))]
        left = []
        skip = done
        for part in parts:
            size = len(part)
            if skip < size:
                left.append(memoryview(part)[skip:] if skip else part)
                if len(left) == 64:
                    break
            skip = max(0, skip - size)
        if left:
            counts.extend(map(sock.sendmsg, (left,), (ancillary,), (flags,)))
            done += counts[-1]
        if len(counts) > 64:
            packet[2] = [done]
        if done < sum(map(len, parts)):
            return False
        if fds is not None:
            fds.close()
        queue.popleft()
        return not queue
