"""Frames and batches: how the bytes on earlyfork's sockets are cut, and what may follow what.

No I/O: bytes in, frames out, and back. What a frame's payload means is in `payloads`. The owner's
half and the child's half use this one text, which is also sent to interpreters that are launched.
So this file must not import anything that costs time, or that knows the operating system.
"""

from __future__ import annotations

from _struct import Struct  # `struct` itself is one file more to find

VERSION = 1
MAGIC = b"eF"

#: A batch is what one sendmsg carries: this head, a body of frames, zeros up to PAD bytes, and
#: then, if the last frame is a bulk one, its payload.
HEAD = Struct("!2sBBII")  # magic, version, number of fds, length of the body, length of the bulk
FRAME = Struct("!BI")  # op, length of the payload
#: The first PAD bytes of a batch can be asked for in one read without touching what follows it.
PAD = 256
#: The kernel's limit for one message (SCM_MAX_FD).
MAX_FDS = 253
MAX_BODY = 1 << 22
MAX_BULK = 1 << 30
#: Payloads from this size on travel as bulk: neither side ever joins them with other bytes.
BULK_FROM = 1 << 16

# Owner to process, on comm. The numbers are the protocol: never reuse one.
REQUIRE = 1
EVAL = 2
CALL = 3
FD = 4
ARG_BYTES = 5
ARG_STR = 6
ARG_PICKLE = 7
FORK = 8
READY = 9
RUN = 10
ENV = 11
CWD = 12
PATH = 13
STDIO = 14
ADOPT = 15
PARK = 16
QUEUE = 17
CHROOT = 18
ARG_PLAIN = 19
COMPACT = 21
HABITS = 22
EXEC = 20
SPAWN = 23  # at a root template: what EXEC says, beside itself

#: What a process says on comm once it was told EXEC: it is about to execute the command. The end of
#: comm, which is close-on-exec, means that the command runs; unless a letter comes before, and
#: ERROR says why: the exec has failed; it can't go to the command's directory; something else.
EXECUTES, EXECUTED_NOT, THERE_NOT, SET_NOT = b".", b"!", b"/", b"-"

# Forker to owner, on status.
PID = 64
IS_READY = 65
ERROR = 66
EXIT = 67
NO_FORK = 68
# The same of a command that a root template should execute itself: instead of PID, which says that
# it was executed. Each with an errno.
NOT_EXECUTED = 69  # the exec has failed
NOT_THERE = 70  # it can't go to the command's directory
NOT_SET = 71  # something else before the exec has failed
ELSEWHERE = 72  # a process of the owner's should execute it
UNEXECUTED = (NOT_EXECUTED, NOT_THERE, NOT_SET, ELSEWHERE)
LOST = 73  # who spoke for the process can do so no more, and says why

# Owner to forker, on status, where the two are on different machines.
SIGNAL = 112

# Child to forker, on its way up. IS_READY and ERROR go this way too, and from there to status. So
# do PARK and ADOPT, when the child obeys them. `_child/hearing.py` says when each may come.
NEW = 96
LINK = 97  # its fds: the line, if the payload is "S"; a pidfd of the owner, if one could be had
SIBLING = 98
FULL = 99  # of a nursery that is crowded itself
UNREHEARSED = 100  # of a standby whose rehearsal has failed
RUNS = 101  # from here on, what the child says is said by the function that it runs

#: The states of a process as its owner sees them. A root template is one that never runs.
ROOT, OPEN, RUNNING, HANDED, CLOSED = "template", "open", "running", "handed over", "closed"
#: The owner lets go of the process. This is the number of no op, so that no frame can say it.
CLOSE = -1

#: The frames that hold a value for the function that will run.
ARGUMENTS = (ARG_BYTES, ARG_STR, ARG_PLAIN, ARG_PICKLE)
#: What may be sent or done in which state, and the state after that. This table alone changes the
#: state of an owner's handle. A process itself is always open: it obeys what may be sent in `OPEN`.
NEXT = {
    **{
        (state, op): state
        for state in (ROOT, OPEN)
        for op in (
            *(REQUIRE, EVAL, CALL, FD, *ARGUMENTS, FORK, READY),
            *(ENV, CHROOT, CWD, PATH, STDIO, QUEUE, COMPACT, HABITS),
        )
    },
    (OPEN, ADOPT): OPEN,
    (OPEN, PARK): HANDED,
    (OPEN, RUN): RUNNING,
    (OPEN, EXEC): RUNNING,
    (ROOT, SPAWN): ROOT,
    (OPEN, SPAWN): OPEN,
    **{(state, CLOSE): CLOSED for state in (ROOT, OPEN, RUNNING, HANDED, CLOSED)},
}
#: Frames after which a process differs from what was forked off it before.
CHANGES = frozenset(
    (*(REQUIRE, EVAL, CALL, FD, *ARGUMENTS), *(ENV, CHROOT, CWD, PATH, STDIO, COMPACT))
)
#: Frames that use the rights of the process that obeys them: first it gives up what their sender
#: has not.
USE_RIGHTS = CHANGES | {RUN, EXEC}
#: How long a payload may be on status and on a way up.
MAX_TEXT = 60_000


class EarlyForkError(Exception):
    """The base of every error that earlyfork raises on its own account."""


class ProtocolError(EarlyForkError):
    """The other side of a socket sent what earlyfork's protocol does not allow."""


def frame(op: int, payload: bytes = b"") -> bytes:
    """One frame, ready to stand in a body."""
    return FRAME.pack(op, len(payload)) + payload


def split_bulk(payload: bytes) -> tuple[bytes, bytes]:
    """A payload as what stands in its frame, and what follows the batch as bulk."""
    return (b"", payload) if len(payload) >= BULK_FROM else (payload, b"")


def batch(body: bytes, fds: int = 0, bulk: int = 0) -> bytes:
    """A batch up to its bulk, which the caller sends right after it."""
    return (HEAD.pack(MAGIC, VERSION, fds, len(body), bulk) + body).ljust(PAD, b"\0")


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Take a body apart.

    Raises:
        ProtocolError: the body ends within a frame.
    """
    found = []
    at, end = 0, len(body)
    while at < end:
        if at + FRAME.size > end:
            raise ProtocolError(f"a frame's head is cut off: {end - at} of {FRAME.size} bytes")
        op, size = FRAME.unpack_from(body, at)
        at += FRAME.size
        if at + size > end:
            raise ProtocolError(f"frame {op} is cut off: {end - at} of {size} bytes")
        found.append((op, body[at : at + size]))
        at += size
    return found


class Decoder:
    """Turns a stream of bytes and fds into batches.

    Who reads no more than `wants` at a time never reads beyond the end of a batch.
    """

    __slots__ = (
        *("_body", "_bulk", "_bulk_size", "_chunks", "_count_fds", "_fd_count", "_size"),
        *("fds", "wants"),
    )

    def __init__(self, *, count_fds: bool = True) -> None:
        """Begin between two batches.

        Args:
            count_fds: whether as many fds must come as a batch announces. False for who looks at
                bytes without reading them: fds can't be looked at that way.
        """
        #: How many bytes to read next, at most.
        self.wants = PAD
        #: The fds that came with the batch under way; whoever drops the decoder closes them.
        self.fds: list[int] = []
        self._chunks: list[bytes] = []
        self._count_fds = count_fds
        self._size = -1
        self._body = b""
        self._fd_count = 0
        self._bulk: list[bytes] | None = None
        self._bulk_size = 0

    @property
    def clean(self) -> bool:
        """Whether the stream may end here: no batch is under way."""
        return self.wants == PAD and not self._chunks and self._bulk is None

    def feed(
        self, data: bytes, fds: list[int] | None = None
    ) -> tuple[list[tuple[int, bytes]], list[int]] | None:
        """Take what was read; return the frames and fds of a batch once it is whole.

        Raises:
            ProtocolError: foreign bytes, another version, wrong lengths or number of fds.
        """
        if fds:
            self.fds += fds
        if len(data) > self.wants:
            raise ProtocolError(f"{len(data)} bytes read where {self.wants} were wanted")
        if self._bulk is not None:
            self._bulk.append(data)
            self.wants -= len(data)
            return None if self.wants else self._finish()
        if self._chunks:
            self._chunks.append(data)
            self.wants -= len(data)
            if self.wants:
                self._refuse_foreign()
                return None
            data = b"".join(self._chunks)
        elif len(data) < self.wants:
            self._chunks.append(data)
            self.wants -= len(data)
            self._refuse_foreign()
            return None
        if self._size < 0:
            self._head(data)
            missing = HEAD.size + self._size - len(data)
            if missing > 0:
                self._chunks = [data]
                self.wants = missing
                return None
        self._chunks = []
        self._body = data[HEAD.size : HEAD.size + self._size]
        if self._bulk_size:
            self._bulk = []
            self.wants = self._bulk_size
            return None
        return self._finish()

    def _refuse_foreign(self) -> None:
        """Look at the first two bytes as soon as they are there: nothing more may come behind."""
        first = b"".join(self._chunks[:2])[:2]
        if self._size < 0 and not MAGIC.startswith(first):
            raise ProtocolError(f"these are not earlyfork's bytes: {first!r}")

    def _head(self, data: bytes) -> None:
        magic, version, self._fd_count, size, bulk = HEAD.unpack_from(data)
        if magic != MAGIC:
            raise ProtocolError(f"these are not earlyfork's bytes: {data[:16]!r}")
        if version != VERSION:
            raise ProtocolError(
                f"the other side speaks version {version} of the protocol, this side {VERSION}; "
                "use the same release of earlyfork on both"
            )
        if size > MAX_BODY or bulk > MAX_BULK or self._fd_count > MAX_FDS:
            raise ProtocolError(f"a batch is too large: {size} + {bulk} bytes")
        self._size, self._bulk_size = size, bulk

    def _finish(self) -> tuple[list[tuple[int, bytes]], list[int]]:
        found = frames(self._body)
        if self._bulk is not None:
            if not found or found[-1][1]:
                raise ProtocolError("bulk without a frame that it belongs to")
            found[-1] = (
                found[-1][0],
                self._bulk[0] if len(self._bulk) == 1 else b"".join(self._bulk),
            )
        fds = self.fds
        if self._count_fds and len(fds) != self._fd_count:
            raise ProtocolError(f"{len(fds)} fds came with a batch that announced {self._fd_count}")
        self.wants, self.fds = PAD, []
        self._size, self._body, self._bulk, self._bulk_size = -1, b"", None, 0
        return found, fds
