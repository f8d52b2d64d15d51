"""What workers write to stderr: it is passed on at once, and its end is in WorkerDied."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import rpc_work as work
import support
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    New = Callable[..., Any]


def died(call: Callable[..., Any], *args: Any) -> rpc.WorkerDied:
    with pytest.raises(rpc.WorkerDied) as caught:
        call(*args)
    return caught.value


def test_last_words_are_those_of_the_file_descriptor(
    new_client: New, capfd: pytest.CaptureFixture[str]
) -> None:
    """So what C code says is among them, too."""
    client = new_client(stderr="keep")
    error = died(client.call, work.says_and_aborts, "free(): invalid pointer\n")
    assert error.returncode == -signal.SIGABRT
    assert error.stderr == "free(): invalid pointer\n"
    assert str(error).endswith("Its last words:\nfree(): invalid pointer")
    support.wait_until(lambda: "invalid pointer" in capfd.readouterr().err)


def test_nobody_has_to_read(new_client: New, capfd: pytest.CaptureFixture[str]) -> None:
    """It is passed on while nobody waits for the client; much of it stops nobody; 4 KB are kept."""
    client = new_client(stderr="keep")
    client.post(work.says, "now\n")
    # Read once only: whoever empties this file loses what is written at that moment.
    support.wait_until(lambda: os.fstat(2).st_size >= len("now\n"))
    much = "much " * 300_000 + "enough\n"
    client.post(work.says, much)
    support.wait_until(lambda: os.fstat(2).st_size >= len("now\n" + much))
    said = capfd.readouterr().err
    assert said.count("much ") == 300_000
    error = died(client.call, os._exit, 3)
    assert len(error.stderr) == 4096
    assert error.stderr.endswith("much enough\n")


def test_one_keeper_for_all_and_none_afterwards(new_client: New) -> None:
    clients = [new_client(stderr="keep") for _ in range(3)]
    keeper = clients[0]._kept._keeper
    assert all(client._kept._keeper is keeper for client in clients)
    for number, client in enumerate(clients):
        client.call(work.says, f"{number}\n")
    pid = keeper.client.process.pid
    del keeper
    assert [died(client.call, os._exit, 1).stderr for client in clients] == ["0\n", "1\n", "2\n"]
    assert support.gone_within(pid)


def test_without_its_keeper_a_death_is_told_all_the_same(new_client: New) -> None:
    client = new_client(stderr="keep")
    client.call(work.says, "unheard\n")
    client._kept._keeper.client.process.kill()
    client._kept._keeper.client.process.wait()
    assert died(client.call, os._exit, 1).returncode == 1
    again = new_client(stderr="keep")
    again.call(work.says, "heard\n")
    assert died(again.call, os._exit, 1).stderr == "heard\n"


def test_what_the_worker_has_forked_may_hold_its_stderr(new_client: New) -> None:
    client = new_client(stderr="keep")
    client.call(work.says, "last\n")
    pid = client.call(work.forks_a_sleeper)
    try:
        assert died(client.call, os._exit, 1).stderr == "last\n"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_closed_stderr_here(run_program: Any) -> None:
    done = run_program("rpc/no_stderr.py")
    assert support.output_of(done) == "gone\n\n"


def test_as_it_is_by_default(new_client: New, capfd: pytest.CaptureFixture[str]) -> None:
    client = new_client(init=work.failing_init)
    assert "LookupError: no table" in died(client.call, work.echo, 1).stderr
    support.wait_until(lambda: "no table" in capfd.readouterr().err)
    with pytest.raises(ValueError, match=r'stderr is None .* or "keep", not 1'):
        rpc.Client(earlyfork.new(), stderr=1)  # type: ignore[arg-type]
