"""Large buffers, files and sockets in arguments and results."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

import rpc_work as work
import support

if TYPE_CHECKING:
    from pathlib import Path


def test_large_buffers_arrive_writable_beside_the_pickle(client: Any) -> None:
    for size in (0, 10, 65536, 65537, 5_000_000):
        blob = work.Blob(bytearray(os.urandom(size)))
        found = client.call(work.Blob.reversed, blob)
        assert found.data == blob.data[::-1]
        assert not memoryview(found.data).readonly
    several = client.call(work.echo, [blob, 3, found])
    assert [several[0].data, several[2].data] == [blob.data, found.data]


def test_files_and_sockets(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\ntwo\n")
    with path.open() as text, path.open("rb") as binary:
        assert text.readline() == "one\n"
        assert client.call(work.read_all, text, binary) == ["two\n", b"one\ntwo\n"]
    near, far = socket.socketpair()
    with near:
        with far:
            client.call(work.send_on, far, b"from there")
        assert near.recv(99) == b"from there"
    found = client.call("builtins.open", str(path))
    with found:
        assert found.read() == "one\ntwo\n"
        assert not os.get_inheritable(found.fileno())


def test_a_connection_is_no_number(client: Any) -> None:
    import multiprocessing

    near, far = multiprocessing.Pipe()
    with near, far:
        client.call("operator.methodcaller", "send", "hello")(far)
        assert near.recv() == "hello"
        assert client.call(work.echo, far).fileno() != far.fileno()


@pytest.mark.parametrize("number", [253, 254, 600])
def test_many_fds(client: Any, number: int) -> None:
    files = client.call(work.make_files, number)
    try:
        assert len({file.fileno() for file in files}) == number
        assert client.call(work.close_all, files) == number
    finally:
        work.close_all(files)


def test_no_room_for_fds_there_fails_the_call_alone(client: Any) -> None:
    client.call(work.limit_fds, client.call(work.open_fds) + 5)
    files = work.make_files(30)
    for _ in range(3):
        with pytest.raises(OSError, match="too many open files"):
            client.call(work.close_all, files)
        assert client.call(work.close_all, files[:2]) == 2
    work.close_all(files)


def test_no_room_for_fds_here(client: Any) -> None:
    client.call(work.echo, 1)
    call = client.submit(work.make_files, 40)
    support.wait_until(lambda: support.readable_within(client.fileno(), 1))
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(support.open_fds()) + 3
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        with pytest.raises(OSError, match="too many open files"):
            call.result()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert client.call(work.echo, 1) == 1


def test_what_keeps_state_here_is_refused(client: Any, tmp_path: Path) -> None:
    import gzip

    with gzip.open(tmp_path / "z", "wb") as file, pytest.raises(TypeError, match="can't be sent"):
        client.call(work.echo, file)
    closed = open(os.devnull)
    closed.close()
    with pytest.raises((TypeError, ValueError)):
        client.call(work.echo, closed)
    assert client.call(work.echo, 1) == 1
