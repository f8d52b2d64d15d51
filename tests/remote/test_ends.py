"""Whoever ends, and in whichever state: everybody else is told, and nothing is left."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

import earlyfork
import support
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[..., earlyfork.Process]

#: The parties, by the names that they have for `ps`.
PARTIES = ("ef-relay", "ef-agent", "ef-template")


def party(name: str) -> int:
    """The one process of that name among the descendants of this one, or that came home to it."""
    found = [pid for pid, _ in support.descendants(os.getpid()) if support.comm(pid) == name]
    if name == "ef-template":  # the program's own has the relay for a child
        found = [pid for pid in found if b"-c\0import sys;a=" in _command_line(pid)]
    assert len(found) == 1, found
    return found[0]


def _command_line(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def is_lost(call: Callable[[], object], match: str = ".") -> None:
    with pytest.raises((earlyfork.ProcessLost, earlyfork.TemplateDied), match=match):
        call()


@pytest.mark.parametrize("name", PARTIES)
def test_one_is_killed_while_a_linked_worker_runs(host: earlyfork.Process, name: str) -> None:
    worker = host.fork()
    sock = worker.run("remote_work.linger", linked=True)
    pid = int(sock.recv(100))
    prepared = host.fork().ready(support.PATIENCE)
    os.kill(party(name), signal.SIGKILL)
    is_lost(lambda: worker.wait(support.PATIENCE))
    is_lost(lambda: prepared.ready(support.PATIENCE))
    is_lost(lambda: host.fork().ready(support.PATIENCE))
    if name == "ef-template":  # as here: the worker lives on with its owner, and ends with it
        assert support.alive(pid)
        sock.close()
        worker.close()
        host.close()
    assert support.gone_within(pid)
    sock.close()


@pytest.mark.parametrize("name", PARTIES)
def test_one_is_killed_while_nothing_runs(host: earlyfork.Process, name: str) -> None:
    host.ready(support.PATIENCE)
    os.kill(party(name), signal.SIGKILL)
    is_lost(lambda: host.wait(support.PATIENCE))
    is_lost(lambda: host.ready(support.PATIENCE))
    is_lost(host.fork)


def test_a_connection_that_ends_says_why(connect: Connect) -> None:
    host = connect(["sh", "-c", 'trap "" TERM; "$@"; echo farewell >&2; exit 44', "sh"])
    worker = host.fork()
    sock = worker.run("remote_work.wait", linked=True)
    assert sock.recv(1) == b"!"
    client = rpc.Client(host.fork())
    client.call("os.getpid")  # so it was made
    call = client.submit("time.sleep", 1000)
    os.kill(party("ef-agent"), signal.SIGKILL)
    is_lost(lambda: worker.wait(support.PATIENCE), r"ended with status 44(?s:.)*farewell")
    with pytest.raises(rpc.WorkerDied, match="status 44"):
        call.result(support.PATIENCE)
    with pytest.raises(earlyfork.ProcessLost, match="farewell"):
        client.join()
    assert client._sock.fileno() == -1
    assert support.gone_within(worker.pid)
    sock.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ef-relay", "ef-agent"])
def test_one_is_stopped(connect: Connect, name: str) -> None:
    """A connection that is dead although nobody has ended it."""
    host = connect(timeout=3.0)
    worker = host.fork()
    sock = worker.run("remote_work.linger", linked=True)
    pid = int(sock.recv(100))
    stopped = party(name)
    os.kill(stopped, signal.SIGSTOP)
    if name == "ef-agent":
        is_lost(lambda: worker.wait(support.PATIENCE), "nothing was heard for 3 seconds")
        os.kill(stopped, signal.SIGCONT)
    assert support.gone_within(pid)
    if name == "ef-relay":
        os.kill(stopped, signal.SIGCONT)
        is_lost(lambda: worker.wait(support.PATIENCE))
    sock.close()


@pytest.mark.slow
def test_silence_is_no_death(connect: Connect) -> None:
    host = connect(timeout=3.0).ready(support.PATIENCE)
    with pytest.raises(TimeoutError):
        host.wait(5.0)
    worker = host.fork().send_arg("exit", 3)
    worker.run("remote_work.die").close()
    assert worker.wait(support.PATIENCE) == 3


@pytest.mark.parametrize("how", ["return", "raise", "_exit", "kill"])
@pytest.mark.parametrize("state", ["connecting", "ready", "running"])
def test_the_program_ends(start_program: support.Start, how: str, state: str) -> None:
    program = start_program("remote/ends.py", how, state, sys.executable)
    told = support.told(program)
    program.wait(support.PATIENCE)
    support.wait_until(lambda: not support.session(program.pid))
    if told > 1:  # over there all have sessions of their own
        assert support.gone_within(told)
    assert program.stderr is not None
    assert [line for line in program.stderr.read().splitlines() if "earlyfork" in line] == []


def test_an_unlinked_worker_lives_on(host: earlyfork.Process) -> None:
    worker = host.fork()
    sock = worker.run("remote_work.linger")
    pid = int(sock.recv(100))
    sock.close()
    worker.close()
    host.close()
    support.wait_until(lambda: "ef-agent" not in _names())
    assert support.alive(pid)
    os.kill(pid, signal.SIGKILL)


def _names() -> list[str]:
    return [support.comm(pid) for pid, _ in support.descendants(os.getpid())]


def test_a_dropped_handle_ends_a_prepared_process(host: earlyfork.Process) -> None:
    process = host.fork().ready(support.PATIENCE)
    pid = process.pid
    process.close()
    assert support.gone_within(pid)
    linked = host.fork()
    sock = linked.run("remote_work.linger", linked=True)
    pid = int(sock.recv(100))
    sock.close()
    linked.close()  # which does not end it, as here
    host.ready(support.PATIENCE)
    assert support.alive(pid)
    os.kill(pid, signal.SIGKILL)
    assert support.gone_within(pid)


def test_closing_ends_all_of_it(host: earlyfork.Process) -> None:
    host.ready(support.PATIENCE)
    pids = [party(name) for name in PARTIES]
    host.close()
    for pid in pids:
        assert support.gone_within(pid)


# -- what is not trusted ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["hostile", "fail_hostile"])
def test_a_hostile_value(host: earlyfork.Process, call: str) -> None:
    """Were it unpickled, it would kill this process."""
    with rpc.Client(host.fork()) as client:
        with pytest.raises(Exception, match=r"odd|plain types"):
            client.call(f"remote_work:{call}")
        assert client.call("remote_work:add", 1, 2) == 3
        pending = client.submit(f"remote_work:{call}")
        with pytest.raises(Exception, match=r"odd|plain types"):
            pending.result(support.PATIENCE)
        with pytest.raises(Exception, match="plain types"):
            list(client.stream("builtins:map", _named("remote_work:add"), [1], [2]))


def _named(_name: str) -> object:
    return earlyfork.EarlyForkError  # a class that is found on both sides, and makes no plain value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        2.5,
        1j,
        "ü",
        b"b",
        bytearray(b"c"),
        (1, [2]),
        {3: {4}},
        frozenset({5}),
        range(6),
    ],
)
def test_plain_values_travel(host: earlyfork.Process, value: object) -> None:
    with rpc.Client(host.fork()) as client:
        got = client.call("copy:copy", value)
        assert got == value
        assert type(got) is type(value)


def test_errors_travel(host: earlyfork.Process) -> None:
    with rpc.Client(host.fork()) as client:
        with pytest.raises(FileNotFoundError, match="/no/such") as caught:
            client.call("os:stat", "/no/such")
        assert isinstance(caught.value.__cause__, earlyfork.RemoteError)
        with pytest.raises(earlyfork.RemoteError, match="JSONDecodeError"):
            client.call("json:loads", "{")
        with pytest.raises(TypeError, match="another machine"):
            client.call("builtins:len", sys.__stdout__)


def test_a_trusted_host(connect: Connect) -> None:
    from fractions import Fraction

    with rpc.Client(connect(trusted=True).fork()) as client:
        assert client.call("remote_work:add", Fraction(1, 3), 1) == Fraction(4, 3)
        assert client.process.trusted
