"""Timeouts and cancelling: which call is hit, what becomes of the worker and of the others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

import rpc_work as work
import support
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    New = Callable[..., Any]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("function", [work.spin, work.wait_for_ever])
def test_a_timeout_ends_the_call_and_not_the_worker(
    new_client: New, function: Any, concurrency: int
) -> None:
    client = new_client(concurrency=concurrency)
    pid = client.call("os.getpid")
    client.call(work.echo, 1)  # or the import of this module uses up the grace on a busy machine
    with pytest.raises(rpc.CallTimeout) as caught:
        client.options(timeout=0.05).call(function)
    assert isinstance(caught.value, TimeoutError)
    assert client.call("os.getpid") == pid


def test_a_timeout_counts_from_the_start(client: Any) -> None:
    """What waits behind another call has its time still."""
    client.call(work.echo, 1)
    client.submit("time.sleep", 0.5)
    begin = time.monotonic()
    assert client.options(timeout=0.4).call(work.echo, 1) == 1
    assert time.monotonic() - begin > 0.4


def test_the_late_answer_is_dropped(client: Any) -> None:
    for _ in range(30):
        with contextlib.suppress(rpc.CallTimeout):
            client.options(timeout=0.002).call("time.sleep", 0.002)
        assert client.call(work.echo, "right") == "right"


@pytest.mark.parametrize("cancel", ["soft", "kill", "abandon"])
def test_policies(client: Any, cancel: str, tmp_path: Path) -> None:
    began, until = tmp_path / "began", tmp_path / "until"
    until.touch()
    client.call(work.echo, 1)  # what is imported there takes its time
    with pytest.raises(rpc.CallTimeout):
        client.options(timeout=0.05, cancel=cancel).call(work.tidies_up, str(began), str(until))
    if cancel == "soft":
        assert client.call(work.notes) == ["tidied up"]
    elif cancel == "kill":
        with pytest.raises(rpc.WorkerDied):
            client.call(work.echo, 1)
    else:
        assert client.process.poll() is None
        assert client.pending == 0


@pytest.mark.parametrize("function", [work.block, work.stubborn])
def test_a_call_that_does_not_end_is_killed_after_its_grace(
    client: Any, function: Any, tmp_path: Path
) -> None:
    client.call(work.echo, 1)
    with pytest.raises(rpc.CallTimeout):
        client.options(timeout=0.05, grace=0.1).call(function, str(tmp_path / "began"))
    assert client.join() == -9


def test_cancel_a_running_call(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "began"
    call = client.submit(work.spin, str(path))
    behind = client.submit(work.echo, "behind")
    support.wait_until(path.exists)
    assert call.cancel()
    assert call.cancelled()
    assert call.done()
    assert call.cancel()
    with pytest.raises(concurrent.futures.CancelledError) as caught:
        call.result()
    assert isinstance(caught.value, rpc.CallCancelled)
    assert behind.result() == "behind"
    assert not behind.cancel()


def test_cancel_what_has_not_begun(client: Any, tmp_path: Path) -> None:
    path, until = tmp_path / "began", tmp_path / "until"
    first = client.submit(work.tidies_up, str(path), str(until))
    second = client.submit(work.note, "second")
    third = client.submit(work.echo, "third")
    support.wait_until(path.exists)
    assert second.cancel()
    until.touch()
    assert first.cancel()
    assert third.result() == "third"
    assert client.call(work.notes) == ["tidied up"]


def test_a_second_cancel_leaves_finally_alone(client: Any, tmp_path: Path) -> None:
    path, until = tmp_path / "began", tmp_path / "until"
    call = client.submit(work.tidies_up, str(path), str(until))
    support.wait_until(path.exists)
    call.cancel()
    call.cancel()
    client.process.send_signal(support.signal.SIGURG)
    until.touch()
    assert client.call(work.notes) == ["tidied up"]


def test_cancel_never_hits_another_call(client: Any) -> None:
    """However late it comes: calls that end just then, and calls that follow."""
    for _ in range(150):
        first = client.submit("time.sleep", 0)
        second = client.submit(work.echo, "second")
        first.cancel()
        assert second.result() == "second"
    assert client.call(work.echo, 1) == 1


def test_cancelled_calls_leak_no_fds(client: Any) -> None:
    before = client.call(work.open_fds)
    for _ in range(20):
        call = client.submit(work.make_files, 3)
        call.cancel()
        with open("/dev/null") as file:
            client.submit(work.echo, file).cancel()
    client.call("gc.collect")
    assert client.call(work.open_fds) <= before + 1


@pytest.mark.parametrize("concurrency", [2, 4])
def test_several_at_once(new_client: New, concurrency: int) -> None:
    client = new_client(concurrency=concurrency)
    calls = [client.submit(work.meet) for _ in range(2)]
    assert all(call.result(support.PATIENCE) for call in calls)
    assert client.call(work.thread_name).startswith("earlyfork-call")
    slow = [client.submit(work.wait_for_ever) for _ in range(concurrency)]
    waiting = client.submit(work.echo, "waited")
    for call in slow:
        call.cancel()
    assert waiting.result(support.PATIENCE) == "waited"
    assert client.call(work.notes) == ["task ended"] * len(client.call(work.notes))
    assert client.join(support.PATIENCE) == 0


def test_a_thread_is_cancelled_and_its_successor_is_not(new_client: New) -> None:
    client = new_client(concurrency=2)
    for _ in range(50):
        first = client.submit("time.sleep", 0)
        first.cancel()
        assert client.call(work.echo, 1) == 1


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_import_is_not_interrupted(new_client: New, concurrency: int, tmp_path: Path) -> None:
    """Half of a module would stay; the call ends when the import has."""
    began = tmp_path / "began"
    support.write_files(
        tmp_path,
        slow_inside="import time\nend = time.monotonic() + 0.15\nwhile time.monotonic() < end: pass\n",
        slow_module=f"open({str(began)!r}, 'w').close()\nimport slow_inside\ndef f(): return slow_inside.end\n",
    )
    client = new_client(concurrency=concurrency)
    client.call("sys:path.append", str(tmp_path))
    call = client.submit("slow_module.f")
    support.wait_until(began.exists)
    assert call.cancel()
    assert client.call("slow_module.f")


def test_wait_for_the_first_exception(client: Any) -> None:
    calls = [client.submit("operator.truediv", 1, 0), client.submit("time.sleep", 60)]
    begin = time.monotonic()
    first = concurrent.futures.FIRST_EXCEPTION
    done, _ = concurrent.futures.wait(calls, support.PATIENCE, first)
    assert done == {calls[0]}
    assert time.monotonic() - begin < support.PATIENCE
