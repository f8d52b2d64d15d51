"""The protocol without a socket: what the bytes are, and that no other bytes are believed."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyfork._shared import payloads, wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    Batch = tuple[list[tuple[int, bytes]], list[int]]

#: The protocol: a number that was ever given away keeps its meaning.
OPS = {
    "REQUIRE": 1,
    "EVAL": 2,
    "CALL": 3,
    "FD": 4,
    "ARG_BYTES": 5,
    "ARG_STR": 6,
    "ARG_PICKLE": 7,
    "FORK": 8,
    "READY": 9,
    "RUN": 10,
    "ENV": 11,
    "CHROOT": 18,
    "CWD": 12,
    "PATH": 13,
    "STDIO": 14,
    "ADOPT": 15,
    "PARK": 16,
    "QUEUE": 17,
    "ARG_PLAIN": 19,
    "COMPACT": 21,
    "HABITS": 22,
    "EXEC": 20,
    "SPAWN": 23,
    "PID": 64,
    "IS_READY": 65,
    "ERROR": 66,
    "EXIT": 67,
    "NO_FORK": 68,
    "NOT_EXECUTED": 69,
    "NOT_THERE": 70,
    "NOT_SET": 71,
    "ELSEWHERE": 72,
    "LOST": 73,
    "SIGNAL": 112,
    "NEW": 96,
    "LINK": 97,
    "SIBLING": 98,
    "FULL": 99,
    "UNREHEARSED": 100,
    "RUNS": 101,
}
#: Those that an owner sends on comm, in batches.
COMMANDS = [name for name, op in OPS.items() if op < 64]


def head(
    body: int, *, magic: bytes = b"eF", version: int = 1, fds: int = 0, bulk: int = 0
) -> bytes:
    """The 12 bytes that begin a batch, written out a second time."""
    return magic + bytes([version, fds]) + struct.pack("!II", body, bulk)


def reads(stream: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """What a reader gets that asks for `sizes` in turn."""
    at = 0
    for size in sizes:
        if at == len(stream):
            return
        yield stream[at : at + size]
        at += size


def feed(
    decoder: wire.Decoder, stream: bytes, fds: list[int] | None = None, at_most: int = 1 << 31
) -> list[Batch]:
    """Decode a stream as `server` reads it: never more than is wanted; fds come with byte 1."""
    found = []
    at = 0
    while at < len(stream):
        data = stream[at : at + min(decoder.wants, at_most)]
        at += len(data)
        batch = decoder.feed(data, fds)
        fds = None
        if batch is not None:
            found.append(batch)
    return found


# -- the bytes -----------------------------------------------------------------------------------


def test_the_numbers_are_pinned() -> None:
    found = {
        name: value
        for name, value in vars(wire).items()
        if name.isupper()
        and type(value) is int
        and value < 128
        and name not in {"VERSION", "MAX_FDS", "CLOSE"}  # the last never travels
    }
    assert found == OPS
    assert (wire.VERSION, wire.MAGIC, wire.PAD, wire.MAX_FDS) == (1, b"eF", 256, 253)
    assert (wire.HEAD.size, wire.FRAME.size) == (12, 5)


@pytest.mark.parametrize("name", COMMANDS)
def test_golden_bytes_of_a_batch(name: str) -> None:
    op = getattr(wire, name)
    body = bytes([OPS[name]]) + b"\0\0\0\7payload"
    golden = b"eF\1\2" + b"\0\0\0\x0c" + b"\0\0\0\0" + body + b"\0" * (256 - 12 - 12)
    assert wire.batch(wire.frame(op, b"payload"), 2) == golden
    assert feed(wire.Decoder(), golden, [7, 8]) == [([(OPS[name], b"payload")], [7, 8])]


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op >= 64])
def test_golden_bytes_of_a_frame_on_status_and_up(name: str) -> None:
    assert wire.frame(getattr(wire, name), b"71") == bytes([OPS[name]]) + b"\0\0\0\x0271"


def test_golden_bytes_of_a_bulk_batch() -> None:
    bulk = b"b" * wire.BULK_FROM
    golden = b"eF\1\0" + b"\0\0\0\5" + b"\0\1\0\0" + b"\5\0\0\0\0" + b"\0" * (256 - 12 - 5)
    assert wire.batch(wire.frame(wire.ARG_BYTES), 0, len(bulk)) == golden
    assert feed(wire.Decoder(), golden + bulk) == [([(wire.ARG_BYTES, bulk)], [])]


def test_golden_bytes_of_values() -> None:
    assert payloads.pack_values((b"\0", "ä")) == b"\5\0\0\0\1\0" + b"\6\0\0\0\2\xc3\xa4"
    assert payloads.pack_value(7)[0] == OPS["ARG_PLAIN"]
    assert payloads.pack_value(range(7))[0] == OPS["ARG_PICKLE"]


# -- splits --------------------------------------------------------------------------------------

STREAM = (
    wire.batch(wire.frame(wire.REQUIRE, b"json"), 1)
    + wire.batch(wire.frame(wire.EVAL, b"e" * 300) + wire.frame(wire.RUN, b"-f"))
    + wire.batch(wire.frame(wire.CWD) + wire.frame(wire.ARG_STR), bulk=20)
    + b"B" * 20
    + wire.batch(b"")
)
BATCHES = [
    ([(wire.REQUIRE, b"json")], [5]),
    ([(wire.EVAL, b"e" * 300), (wire.RUN, b"-f")], []),
    ([(wire.CWD, b""), (wire.ARG_STR, b"B" * 20)], []),
    ([], []),
]


def test_whole() -> None:
    decoder = wire.Decoder()
    assert feed(decoder, STREAM, [5]) == BATCHES
    assert decoder.clean


def test_byte_by_byte() -> None:
    decoder = wire.Decoder()
    assert feed(decoder, STREAM, [5], at_most=1) == BATCHES
    assert decoder.clean


@pytest.mark.parametrize("at_most", [2, 3, 11, 12, 13, 16, 17, 255, 256, 257])
def test_short_reads(at_most: int) -> None:
    assert feed(wire.Decoder(), STREAM, [5], at_most) == BATCHES


def test_every_split_point() -> None:
    for point in range(1, len(STREAM)):
        decoder = wire.Decoder()
        found = feed(decoder, STREAM[:point], [5])
        # Nothing is told before its last byte was read, and `clean` only between batches.
        assert found == BATCHES[: len(found)]
        if point % 256 and not decoder.clean:
            assert decoder.wants > 0
        assert found + feed(decoder, STREAM[point:]) == BATCHES, point
        assert decoder.clean


def test_clean_between_batches_only() -> None:
    ends, at = set(), 0
    for size in (256, 12 + 305 + 7, 256 + 20, 256):
        at += size
        ends.add(at)
    assert at == len(STREAM)
    for point in range(len(STREAM) + 1):
        decoder = wire.Decoder()
        feed(decoder, STREAM[:point], [5])
        assert decoder.clean == (point == 0 or point in ends), point


def test_the_decoder_never_wants_a_byte_of_what_follows() -> None:
    """What follows RUN is the user's: a read of `wants` bytes must end with the batch."""
    for trailing in (b"", b"u", b"user bytes", wire.batch(b"")):
        stream = STREAM + trailing
        decoder, at, found = wire.Decoder(), 0, []
        while len(found) < len(BATCHES):
            data = stream[at : at + decoder.wants]
            at += len(data)
            batch = decoder.feed(data, [5] if at == len(data) else None)
            if batch is not None:
                found.append(batch)
        assert at == len(STREAM)


def test_more_than_was_wanted_is_refused() -> None:
    with pytest.raises(wire.ProtocolError, match="257 bytes read where 256"):
        wire.Decoder().feed(STREAM[:257])


# -- what is no batch ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "fds", "text"),
    [
        (b"GET / HTTP/1.1\r\n".ljust(256), [], "not earlyfork's bytes"),
        (b"\0" * 256, [], "not earlyfork's bytes"),
        (head(0, magic=b"Fe").ljust(256), [], "not earlyfork's bytes"),
        (head(0, version=2).ljust(256), [], "version 2 of the protocol, this side 1"),
        (head(0, version=0).ljust(256), [], "version 0"),
        (head((1 << 22) + 1).ljust(256), [], "too large"),
        (head(0, bulk=(1 << 30) + 1).ljust(256), [], "too large"),
        (head(0, fds=254).ljust(256), [], "too large"),
        (wire.batch(b"", 1), [], "0 fds came with a batch that announced 1"),
        (wire.batch(b""), [9], "1 fds came with a batch that announced 0"),
        (wire.batch(b"\1\0\0"), [], "head is cut off: 3 of 5"),
        (wire.batch(b"\1\0\0\0\5four"), [], "frame 1 is cut off: 4 of 5"),
        (wire.batch(wire.frame(1) + b"\1\xff\xff\xff\xff"), [], "frame 1 is cut off: 0 of"),
        (wire.batch(b"", bulk=3) + b"abc", [], "bulk without a frame"),
        (wire.batch(wire.frame(1, b"x"), bulk=3) + b"abc", [], "bulk without a frame"),
    ],
)
def test_refused(stream: bytes, fds: list[int], text: str) -> None:
    with pytest.raises(wire.ProtocolError, match=text):
        feed(wire.Decoder(), stream, fds)


@pytest.mark.parametrize("short", [b"\0", b"GE", b"eX", b"@\0\0\0\x041234"])
def test_foreign_bytes_are_refused_before_there_are_enough(short: bytes) -> None:
    """A process that was given the two ends of one socket would wait for more for ever."""
    with pytest.raises(wire.ProtocolError, match="not earlyfork's bytes"):
        wire.Decoder().feed(short)
    assert wire.Decoder().feed(b"eF"[: len(short)]) is None


def test_the_limits_themselves_are_allowed() -> None:
    decoder = wire.Decoder()
    assert decoder.feed(head(1 << 22, fds=253, bulk=1 << 30).ljust(256)) is None
    assert decoder.wants == 12 + (1 << 22) - 256


def test_an_op_is_no_value() -> None:
    with pytest.raises(wire.ProtocolError, match="op 10 is no value"):
        payloads.unpack_values(wire.frame(wire.RUN))


@given(st.binary(min_size=256, max_size=600), st.integers(1, 300))
def test_garbage_is_refused_by_protocol_error_only(garbage: bytes, at_most: int) -> None:
    for stream in (garbage, head(len(garbage) - 12)[:12] + garbage):
        decoder = wire.Decoder()
        try:
            feed(decoder, stream, at_most=at_most)
        except wire.ProtocolError:
            continue
        assert stream.startswith(b"eF\1")


# -- round trips ---------------------------------------------------------------------------------

rows = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=400)), max_size=6)


@given(rows)
def test_frames_round_trip(row: list[tuple[int, bytes]]) -> None:
    body = b"".join(wire.frame(op, payload) for op, payload in row)
    assert wire.frames(body) == row
    for cut in range(1, len(body)):  # a body that ends within a frame is never taken for a shorter
        try:
            found = wire.frames(body[:cut])
        except wire.ProtocolError:
            continue
        assert found == row[: len(found)]
        assert len(b"".join(wire.frame(*each) for each in found)) == cut


batches = st.lists(
    st.tuples(rows, st.integers(0, 253), st.one_of(st.just(b""), st.binary(min_size=1))),
    max_size=4,
)


@given(batches, st.lists(st.integers(1, 400), min_size=1))
def test_batches_round_trip(
    written: list[tuple[list[tuple[int, bytes]], int, bytes]], sizes: list[int]
) -> None:
    stream, expected, announced = b"", [], {}
    for row, count, bulk in written:
        fds = list(range(count))
        announced[len(stream)] = fds
        frames = [*row, (wire.ARG_BYTES, b"")] if bulk else row
        body = b"".join(wire.frame(op, payload) for op, payload in frames)
        stream += wire.batch(body, count, len(bulk)) + bulk
        expected.append(([*row, (wire.ARG_BYTES, bulk)] if bulk else row, fds))
    decoder, at, turn, found = wire.Decoder(), 0, 0, []
    while at < len(stream):
        data = stream[at : at + min(decoder.wants, sizes[turn % len(sizes)])]
        batch = decoder.feed(data, announced.get(at))
        at += len(data)
        turn += 1
        if batch is not None:
            found.append(batch)
    assert found == expected
    assert decoder.clean


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.binary(),
        st.text(st.characters()),  # lone surrogates too: that is what file names hold
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=8,
)


@given(st.lists(values).map(tuple))
def test_values_round_trip(row: tuple[object, ...]) -> None:
    again = payloads.unpack_values(payloads.pack_values(row))
    assert again == row
    assert [type(value) for value in again] == [type(value) for value in row]


class Text(str):
    """A subclass arrives as one: it does not travel as plain text."""

    __slots__ = ()


def test_subclasses_keep_their_class() -> None:
    (again,) = payloads.unpack_values(payloads.pack_values((Text("x"),)))
    assert type(again) is Text


# -- sessions ------------------------------------------------------------------------------------

COMMAND_OPS = {OPS[name] for name in COMMANDS}


@given(st.lists(st.integers(0, 100), max_size=12))
def test_sessions_follow_the_table(ops: list[int]) -> None:
    """The model: any command while open, nothing after what ends it, and nothing that is none."""
    ends = {OPS["RUN"]: "running", OPS["EXEC"]: "running", OPS["PARK"]: "handed over"}
    state = wire.OPEN
    ended = False
    for op in ops:
        allowed = op in COMMAND_OPS and not ended
        assert ((state, op) in wire.NEXT) == allowed
        if not allowed:
            continue
        state = wire.NEXT[state, op]
        ended = op in ends
        assert state == ends.get(op, "open")


def test_a_root_template_takes_what_others_do_but_what_ends_or_moves_it() -> None:
    refused = {OPS[name] for name in ("RUN", "EXEC", "PARK", "ADOPT")}
    assert {op for op in COMMAND_OPS if (wire.ROOT, op) in wire.NEXT} == COMMAND_OPS - refused
    assert all(wire.NEXT[wire.ROOT, op] == wire.ROOT for op in COMMAND_OPS - refused)


def test_nothing_but_the_end_follows_the_last_states() -> None:
    following = {(state, op) for state, op in wire.NEXT if state not in {wire.OPEN, wire.ROOT}}
    last = {(state, wire.CLOSE) for state in (wire.RUNNING, wire.HANDED, wire.CLOSED)}
    assert following == last
    assert all(wire.NEXT[key] == wire.CLOSED for key in last)


def test_what_changes_a_process_voids_its_standbys() -> None:
    """Everything but what leaves it as it was."""
    names = ("FORK", "READY", "RUN", "EXEC", "SPAWN", "ADOPT", "PARK", "QUEUE", "HABITS")
    keeps = {OPS[name] for name in names}
    assert COMMAND_OPS - keeps == wire.CHANGES
