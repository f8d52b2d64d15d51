"""The payloads as real processes read and write them, in C or in Python: the same bytes for both.

A process that was told nothing yet reads its first batch in C, where there is that part; one that
was told something reads it in Python. test_origins.py runs this file without the part in C, too.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import payload_cases
import pytest
import work

import support
from earlyfork._owner import inside
from earlyfork._shared import payloads, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    import earlyfork

    Make = Callable[[], earlyfork.Process]


#: Whether the process was told something before: then Python reads the next batch.
BOTH = pytest.mark.parametrize("later", [False, True], ids=["first batch", "later batch"])


def template_of(make: Make) -> earlyfork.Process:
    """A template whose clones have `work` loaded, whatever becomes of their path.

    Python serves until it has forked once, and in the process that was forked then.
    """
    made = make().require("work")
    made.fork().ready(10).close()
    return made


def clone(make: Make, *, later: bool) -> earlyfork.Process:
    """A process of such a template, to be sent bytes."""
    made = template_of(make).fork()
    return made.ready(10) if later else made


def send(process: earlyfork.Process, *frames: tuple[int, bytes], fds: tuple[int, ...] = ()) -> Any:
    """Send frames as one batch, these very bytes; what the function that they run answers."""
    body = b"".join(wire.frame(op, payload) for op, payload in frames)
    with socket.socket(fileno=os.dup(inside.comm_fd(process))) as raw:
        socket.send_fds(raw, [wire.batch(body, len(fds))], fds)
        return work.got(raw)


def run(name: str) -> tuple[int, bytes]:
    return wire.RUN, payloads.pack_run(name)


@BOTH
@pytest.mark.parametrize(
    ("golden", "answer"),
    [
        *((b"-work.echo", ()), (b"-work:Namespace.Inner.answer", "inner")),
        *((b"Lwork.echo", ()), (b"awork.echo", ()), (b"lwork.echo", ())),
    ],
)
def test_run(make: Make, later: bool, golden: bytes, answer: object) -> None:
    process = clone(make, later=later)
    assert golden in {golden for _, golden in payload_cases.of("run")}
    assert send(process, (wire.RUN, golden)) == answer
    assert process.wait(10) == 0


@BOTH
@pytest.mark.parametrize(("given", "golden"), payload_cases.of("env"))
def test_env(make: Make, later: bool, given: tuple[Any], golden: bytes) -> None:
    before = {b"GONE": b"x", b"B": b"x", b"C": b"x"}
    seen = send(
        clone(make, later=later),
        (wire.ENV, payloads.pack_env([*before.items()])),
        (wire.ENV, golden),
        run("work.environment"),
    )
    expected = dict(before)
    for name, value in given[0]:
        if value is None:
            del expected[name]
        else:
            expected[name] = value
    names = {os.fsdecode(name) for name in (b"A", *before)}
    assert {k: v for k, v in seen.items() if k in names} == {
        os.fsdecode(name): os.fsdecode(value) for name, value in expected.items()
    }


@BOTH
@pytest.mark.parametrize(("given", "golden"), payload_cases.of("path"))
def test_path(make: Make, later: bool, given: tuple[Any], golden: bytes) -> None:
    seen = send(clone(make, later=later), (wire.PATH, golden), run("work.surroundings"))
    assert seen["path"] == [os.fsdecode(entry) for entry in given[0]]


@BOTH
def test_what_has_fds_takes_its_own(make: Make, later: bool, tmp_path: Any) -> None:
    """STDIO and CWD, in one batch with what stands between them."""
    folder = os.open(tmp_path, os.O_RDONLY)
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    seen = send(
        clone(make, later=later),
        (wire.STDIO, bytes([payloads.NULL, payloads.NEXT_FD, payloads.KEEP])),
        (wire.ENV, b"A=1"),
        (wire.CWD, b""),
        run("work.surroundings"),
        fds=(out, folder),
    )
    assert seen["streams"][:2] == [os.stat(os.devnull).st_ino, os.fstat(out).st_ino]
    assert seen["cwd"] == os.path.realpath(tmp_path)
    os.close(folder)
    os.close(out)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (run("work.pid"), 0),
        ((wire.EVAL, payloads.pack_values(("<7>", "raise SystemExit(7)"))), 7),
        ((wire.EVAL, payloads.pack_values(("<9>", "import os; os.kill(os.getpid(), 9)"))), -9),
    ],
)
def test_what_a_forker_says(make: Make, frame: tuple[int, bytes], code: int) -> None:
    """PID and EXIT, on a status socket of ours."""
    template = template_of(make)
    comm, far_comm = support.comm_pair()
    status, far_status = socket.socketpair()
    with comm, far_comm, status, far_status:
        far_status.setblocking(False)
        with socket.socket(fileno=os.dup(inside.comm_fd(template))) as raw:
            batch = wire.batch(wire.frame(wire.FORK), 2)
            socket.send_fds(raw, [batch], [far_comm.fileno(), far_status.fileno()])
        far_comm.close()
        far_status.close()
        comm.sendall(wire.batch(wire.frame(*frame)))
        said = support.read_until_eof(status.fileno())
    (first, pid), (second, exit_code) = wire.frames(said)
    assert (first, second) == (wire.PID, wire.EXIT)
    assert payloads.pack_number(payloads.unpack_number(pid)) == pid
    assert payloads.unpack_number(pid) > 1
    assert exit_code == payloads.pack_number(code)


def test_a_queued_standby(make: Make) -> None:
    """What a template puts into a queue of ours."""
    template = template_of(make)
    comm, far_comm = support.comm_pair()
    status, far_status = socket.socketpair()
    queue, far_queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with comm, far_comm, status, far_status, queue, far_queue:
        far_status.setblocking(False)
        ends = [far_comm.fileno(), far_status.fileno(), far_queue.fileno()]
        with socket.socket(fileno=os.dup(inside.comm_fd(template))) as raw:
            batch = wire.batch(wire.frame(wire.FORK, payloads.pack_number(1)), 3)
            socket.send_fds(raw, [batch], ends)
        assert support.readable_within(queue.fileno(), support.PATIENCE)
        message, fds, _, _ = socket.recv_fds(queue, 64, 2)
        generation, pid = payloads.unpack_queued(message)
        assert generation == template._generation > 0  # it was told to require `work`
        assert payloads.pack_queued(generation, pid) == message
        assert support.alive(pid)
        for fd in fds:
            os.close(fd)
    support.wait_until(lambda: not support.alive(pid))
