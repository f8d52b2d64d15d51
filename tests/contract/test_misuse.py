"""Misuse is refused at the call, in words that say what to do instead."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., earlyfork.Process]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_handle_is_not_copied(make: Make, how: Callable[[object], object]) -> None:
    with make() as process, pytest.raises(TypeError, match=r"to_fh\(\)"):
        how(process)


class Thing:
    def method(self, sock: socket.socket) -> None: ...

    @classmethod
    def of_the_class(cls, sock: socket.socket) -> None:
        work.give(sock, cls.__name__)


async def coroutine(_sock: socket.socket) -> None: ...


def generator(_sock: socket.socket):  # noqa: ANN201
    yield


async def async_generator(_sock: socket.socket):  # noqa: ANN201
    yield


def test_functions_that_can_not_be_run(make: Make) -> None:
    with make() as process:
        for function in (coroutine, generator, async_generator):
            with pytest.raises(TypeError, match=r"asyncio\.run"):
                process.run(function)
        with pytest.raises(TypeError, match="is bound to an object"):
            process.run(Thing().method)
        with pytest.raises(TypeError, match="is bound to an object"):
            process.call([].append, 1)


def test_functions_that_can_be_found_by_name(make: Make) -> None:
    assert work.got(make().run(work.Namespace.Inner.answer)) == "inner"
    process = make().call(os.getpid).call(time.sleep, 0)  # in C: bound to their modules
    assert work.got(process.run(work.echo)) == ()


def test_a_socket_is_no_value(make: Make) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, make() as process, pytest.raises(TypeError, match=r"send_fh\(\)"):
        process.send_arg(ours)


def test_a_value_whose_own_code_fails(make: Make) -> None:
    """That error is not ours."""

    class Odd:
        def __reduce__(self) -> str:
            raise LookupError("own")

    with make() as process:
        with pytest.raises(LookupError, match="own"):
            process.send_arg(Odd())
        with pytest.raises(TypeError, match="can't be pickled"):
            process.send_arg(lambda: 0)


def test_signals(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    for bad in (-1, 0, 65, 1000):
        with pytest.raises(ValueError, match="no signal"):
            process.send_signal(bad)
    with pytest.raises(TypeError):
        process.send_signal("TERM")
    process.send_signal(signal.SIGRTMIN + 1)
    assert process.wait(10) == -(signal.SIGRTMIN + 1)
    sock.close()


def test_waiting_for_what_nobody_runs(make: Make) -> None:
    process = make()
    with pytest.raises(earlyfork.ProcessStateError, match="was not run"):
        process.wait()
    with pytest.raises(TimeoutError, match="was not run yet"):
        process.wait(0.01)
    failing = make().eval("import sys; sys.stderr = None; 1 / 0")
    assert failing.wait() == 1
    ending = make().eval("raise SystemExit(3)")
    assert ending.wait() == 3
    process.run(work.returns).close()
    assert process.wait() == 0


def test_another_mapping_as_the_environment(
    make_now: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "OTHER": "mapping"})
    assert work.got(make_now().run(work.environment))["OTHER"] == "mapping"


def test_asyncio_run_is_what_the_words_say(make: Make) -> None:
    process = make().eval(
        "import asyncio\nasync def g(s): s.sendall(b'x')\ndef f(s): asyncio.run(g(s))"
    )
    with process.run("f") as sock:
        assert sock.recv(1) == b"x"
    assert process.wait(10) == 0
    assert inspect.iscoroutinefunction(coroutine)
