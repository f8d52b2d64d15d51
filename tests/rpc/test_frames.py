"""The engine alone: bytes and fds in, frames out, however they are cut."""

from __future__ import annotations

import array
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyfork.rpc import _wire as wire


def plain(frame: Any) -> Any:
    kind, ref, ident, body, buffers, fds = frame
    return kind, ref, ident, bytes(body), [bytes(b) for b in buffers], len(fds)


def drain(inbox: wire.Inbox) -> list[Any]:
    found = []
    while (frame := inbox.peek()) is not None:
        found.append(plain(frame))
        inbox.state = inbox.after
    return found


def packed(kind: int, ident: int, ref: int, body: bytes, buffers: list[bytes]) -> bytes:
    outbox = wire.Outbox()
    outbox.put(kind, ident, ref, body, [memoryview(b) for b in buffers], ())
    return b"".join(bytes(part) for packet in outbox.queue for part in packet[0])


FRAMES = [
    (wire.HELLO, 0, 0, b"settings", []),
    (wire.CALL, 7, 3, b"", []),
    (wire.RESULT, 1 << 63, 0xFFFFFFFF, b"x" * 300, []),
    (wire.EVENT, 0, 1, b"body", [b"", b"yy", b"z" * 50]),
    (wire.ITEM, 9, 2, b"", [b"only a buffer"]),
]
STREAM = b"".join(packed(*frame) for frame in FRAMES)
WANTED = [(kind, ref, ident, body, buffers, 0) for kind, ident, ref, body, buffers in FRAMES]


def test_golden_bytes() -> None:
    assert wire.head(wire.CALL, 5, 6, b"ab") == bytes.fromhex(
        "03 00 0000 06000000 0500000000000000 0200000000000000 6162"
    )


def test_every_split_point() -> None:
    for cut in range(len(STREAM) + 1):
        inbox = wire.Inbox()
        inbox.feed(STREAM[:cut])
        first = drain(inbox)
        inbox.feed(STREAM[cut:])
        assert first + drain(inbox) == WANTED, cut


def test_byte_by_byte() -> None:
    inbox = wire.Inbox()
    found = []
    for at in range(len(STREAM)):
        inbox.feed(STREAM[at : at + 1])
        found += drain(inbox)
    assert found == WANTED


def test_a_frame_that_was_not_let_go_of_is_seen_again() -> None:
    inbox = wire.Inbox()
    inbox.feed(STREAM)
    first = inbox.peek()
    assert first == inbox.peek()
    assert drain(inbox) == WANTED


@pytest.mark.parametrize("size", [40_000, 70_000, 300_000])
def test_large_frames_go_to_memory_of_their_own_wherever_they_are_cut(size: int) -> None:
    data = os.urandom(size)
    stream = STREAM + packed(wire.RESULT, 4, 0, data[:100], [data, b"", data[::-1]]) + STREAM
    for cut in [
        0,
        1,
        23,
        24,
        25,
        len(STREAM),
        len(STREAM) + 30,
        len(STREAM) + 60,
        len(stream) // 2,
    ]:
        inbox = wire.Inbox()
        inbox.feed(stream[:cut])
        found = drain(inbox)
        near, far = socket.socketpair()
        with near, far:
            rest = stream[cut:]
            while rest:
                rest = rest[near.send(rest[:50_000]) :]
                inbox.read(far)
                found += drain(inbox)
            near.shutdown(socket.SHUT_WR)
            while inbox.read(far):
                found += drain(inbox)
        found += drain(inbox)
        large = (wire.RESULT, 0, 4, data[:100], [data, b"", data[::-1]], 0)
        assert found == [*WANTED, large, *WANTED], cut


def test_buffers_are_received_into_writable_memory() -> None:
    inbox = wire.Inbox()
    inbox.feed(packed(wire.RESULT, 1, 0, b"", [b"abc"]))
    frame = inbox.peek()
    assert frame is not None
    assert not memoryview(frame[4][0]).readonly


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n",
        wire.HEAD.pack(0, 0, 0, 0, 0, 0),
        wire.HEAD.pack(wire.CALL, 254, 0, 0, 0, 0),
        wire.HEAD.pack(wire.CALL, 0, 0, 0, 0, wire.LONGEST + 1),
        wire.HEAD.pack(wire.CALL, 0, 1, 0, 0, 0) + wire.SIZE.pack(1 << 63),
        wire.HEAD.pack(wire.CALL, 3, 0, 0, 0, 0),
    ],
    ids=["text", "kind", "fds", "long", "long buffer", "no fds"],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    inbox = wire.Inbox()
    inbox.feed(data)
    with pytest.raises(wire.BadFrame):
        inbox.peek()


@given(st.binary(max_size=200), st.data())
def test_anything_at_all(data: bytes, more: st.DataObject) -> None:
    inbox = wire.Inbox()
    cut = more.draw(st.integers(0, len(data)))
    try:
        for part in (data[:cut], data[cut:]):
            inbox.feed(part)
            for kind, *_ in drain(inbox):
                assert kind in wire.KINDS
    except wire.BadFrame:
        return


@given(st.lists(st.sampled_from(range(len(FRAMES))), max_size=8), st.data())
def test_any_frames_cut_anywhere(order: list[int], data: st.DataObject) -> None:
    stream = b"".join(packed(*FRAMES[i]) for i in order)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    inbox = wire.Inbox()
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        inbox.feed(stream[begin:end])
        found += drain(inbox)
    assert found == [WANTED[i] for i in order]


@pytest.mark.parametrize("number", [1, 253, 254, 600])
def test_fds_arrive_with_their_frame(number: int) -> None:
    near, far = socket.socketpair()
    null = os.open(os.devnull, os.O_RDONLY)
    outbox, inbox = wire.Outbox(), wire.Inbox()
    with near, far:
        outbox.put(wire.CALL, 1, 0, b"before", (), ())
        outbox.put(wire.CALL, 2, 0, b"with", (), [os.dup(null) for _ in range(number)])
        outbox.put(wire.CALL, 3, 0, b"after", (), ())
        while not outbox.write(near, 0):
            continue
        near.shutdown(socket.SHUT_WR)
        while inbox.read(far):
            continue
        seen = []
        while (frame := inbox.peek()) is not None:
            seen.append((bytes(frame[3]), [len(batch.numbers) for batch in frame[5]]))
            inbox.state = inbox.after
    os.close(null)
    full, rest = divmod(number, 253)
    assert seen == [(b"before", []), (b"with", [253] * full + [rest] * (rest > 0)), (b"after", [])]


def test_an_interrupted_write_goes_on_where_it_was() -> None:
    near, far = socket.socketpair()
    outbox, inbox = wire.Outbox(), wire.Inbox()
    found: list[Any] = []
    with near, far:
        near.setblocking(False)
        data = os.urandom(3_000_000)
        outbox.put(wire.CALL, 1, 0, data, [memoryview(data)], ())
        outbox.put(wire.CALL, 2, 0, b"next", (), ())
        written = False
        while not written:
            try:
                written = outbox.write(near, 0)
            except BlockingIOError:
                inbox.read(far, wire.DONTWAIT)
                found += drain(inbox)
        near.close()
        while inbox.read(far):
            found += drain(inbox)
    assert found == [(wire.CALL, 0, 1, data, [data], 0), (wire.CALL, 0, 2, b"next", [], 0)]


def test_fds_that_nobody_takes_are_closed() -> None:
    near, far = os.pipe()
    batch = wire.Fds([near])
    del batch
    with pytest.raises(BrokenPipeError):
        os.write(far, b"x")
    os.close(far)


def test_fewer_fds_than_announced_are_a_lie() -> None:
    near, far = socket.socketpair()
    null = os.open(os.devnull, os.O_RDONLY)
    with near, far:
        numbers = array.array("i", [null])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        near.sendmsg([wire.HEAD.pack(wire.CALL, 2, 0, 0, 1, 0)], rights)
        inbox = wire.Inbox()
        inbox.read(far)
        with pytest.raises(wire.BadFrame):
            inbox.peek()
    os.close(null)
