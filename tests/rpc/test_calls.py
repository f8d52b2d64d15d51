"""Calls and their results, errors, events, streams, and the ends of a client."""

from __future__ import annotations

import asyncio
import concurrent.futures
import fcntl
import operator
import os
import signal
import socket
import sys
import termios
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import rpc_work as work
import support
from earlyfork import rpc

if TYPE_CHECKING:
    from collections.abc import Callable

    New = Callable[..., Any]


# --- results --------------------------------------------------------------------------------


def test_by_function_and_by_name(client: Any) -> None:
    assert client.call(work.args_of, 1, "b", key=[2]) == ((1, "b"), {"key": [2]})
    assert client.call("rpc_work.echo", None) is None
    assert client.call("rpc_work:api.add", 1, 2) == 3
    assert client.call(operator.add, 1, 2) == 3
    assert client.call("builtins.len", "four") == 4
    assert client.call(dict.fromkeys, "ab") == {"a": None, "b": None}


def test_keywords_that_are_names_here(client: Any) -> None:
    keywords = {"fn": 1, "self": 2, "timeout": 3, "args": 4, "kwargs": 5}
    assert client.call(work.args_of, **keywords) == ((), keywords)
    assert client.submit(work.args_of, **keywords).result() == ((), keywords)
    assert client.options(timeout=9).call(work.args_of, **keywords) == ((), keywords)


def test_functions_of_main_there() -> None:
    process = earlyfork.new().eval("def there(x): return x + 1")
    with rpc.Client(process) as client:
        assert client.call("there", 1) == 2
        assert client.call("__main__.there", 2) == 3


def test_async_functions_are_awaited(client: Any) -> None:
    assert [client.call(work.double, n) for n in range(3)] == [0, 2, 4]


def test_submitted_calls_are_futures(client: Any) -> None:
    calls = [client.submit(work.echo, n) for n in range(40)]
    assert [call.result() for call in reversed(calls)] == list(reversed(range(40)))
    assert all(call.done() for call in calls)
    failed = client.submit(work.fails, "x")
    assert isinstance(failed.exception(), ValueError)
    assert client.pending == 0


def test_a_future_that_is_late(client: Any, tmp_path: Path) -> None:
    call = client.submit(work.tidies_up, str(tmp_path / "a"), str(tmp_path / "b"))
    with pytest.raises(concurrent.futures.TimeoutError):
        call.result(timeout=0.01)
    assert not call.done()


def test_what_concurrent_futures_does_with_them(client: Any) -> None:
    calls = {client.submit(work.echo, n) for n in range(5)}
    assert concurrent.futures.wait(calls, timeout=support.PATIENCE).done == calls
    more = [client.submit(work.echo, n) for n in range(5)]
    done = [call.result() for call in concurrent.futures.as_completed(more)]
    assert sorted(done) == list(range(5))
    heard = threading.Event()
    client.submit(work.echo, 1).add_done_callback(lambda _: heard.set())
    assert heard.wait(support.PATIENCE)


def test_awaited_by_asyncio(client: Any) -> None:
    async def main() -> Any:
        calls = [asyncio.wrap_future(client.submit(work.double, n)) for n in range(5)]
        return await asyncio.gather(*calls)

    assert asyncio.run(main(), debug=True) == [0, 2, 4, 6, 8]


def test_callbacks_that_raise_or_call_again(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    results: list[Any] = []
    heard = threading.Event()

    def again(call: Any) -> None:
        results.append(client.call(work.echo, call.result() + 1))
        heard.set()

    client.submit(work.echo, 1).add_done_callback(lambda _: 1 / 0)
    client.submit(work.echo, 1).add_done_callback(again)
    assert heard.wait(support.PATIENCE)
    assert results == [2]
    assert "ZeroDivisionError" in caplog.text


def test_post(client: Any) -> None:
    for number in range(3):
        client.post(work.note, number)
    assert client.call(work.notes) == [0, 1, 2]


def test_window(new_client: New) -> None:
    client = new_client(window=2)
    for number in range(10):
        client.submit(work.echo, number)
        assert client.pending <= 2


def test_both_sides_write_much_at_once(client: Any) -> None:
    data = os.urandom(8_000_000)
    calls = [client.submit(work.echo, data) for _ in range(3)]
    assert all(call.result() == data for call in calls)


def test_nothing(client: Any) -> None:
    assert client.call(work.echo, b"") == b""


def test_ten_threads(client: Any) -> None:
    wrong: list[Any] = []

    def use(name: int) -> None:
        found = [client.call(operator.add, number, name) for number in range(150)]
        wrong.extend(n for n in range(150) if found[n] != n + name)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert client.pending == 0


def test_the_leader_leaves_by_a_timeout(client: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    blocking = client.submit(work.tidies_up, str(tmp_path / "began"), str(go))
    support.wait_until((tmp_path / "began").exists)
    results: list[Any] = []
    behind = client.submit(work.echo, "behind")
    follower = threading.Thread(target=lambda: results.append(behind.result()))
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        blocking.result(timeout=0.05)
    follower.start()
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        blocking.result(timeout=0.05)
    go.touch()
    blocking.cancel()
    follower.join(support.PATIENCE)
    assert results == ["behind"]


# --- errors ---------------------------------------------------------------------------------


def test_the_exception_itself_with_its_traceback(client: Any) -> None:
    with pytest.raises(ValueError, match=r"^x$") as caught:
        client.call(work.fails, "x")
    cause = caught.value.__cause__
    assert isinstance(cause, earlyfork.RemoteError)
    assert cause.type_name == "ValueError"
    assert 'rpc_work.py", line' in cause.remote_traceback
    assert "earlyfork/rpc" not in cause.remote_traceback
    other = client.submit(work.fails, "x").exception()
    assert other is not caught.value


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("odd", earlyfork.RemoteError),
        ("local", earlyfork.RemoteError),
        ("unpicklable", earlyfork.RemoteError),
        ("exit", SystemExit),
        ("interrupt", KeyboardInterrupt),
    ],
)
def test_odd_exceptions(client: Any, kind: str, type_: type[BaseException]) -> None:
    with pytest.raises(type_):
        client.call(work.fails, kind)
    assert client.call(work.echo, 1) == 1


def test_notes_and_causes(client: Any) -> None:
    with pytest.raises(ValueError, match="noted") as caught:
        client.call(work.fails, "notes")
    assert caught.value.__notes__ == ["first", "second"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="outer") as caught:
        client.call(work.fails, "cause")
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, KeyError)


def test_what_cannot_be_pickled_fails_its_call_alone(client: Any) -> None:
    before = client.call(work.about)[0]
    with pytest.raises(TypeError, match="no pickle"):
        client.call(work.echo, work.Unpicklable())
    assert client.call(work.about)[0] == before + 1  # nothing was sent
    with pytest.raises(ArithmeticError, match="poison"):
        client.call(work.echo, work.Poisoned())
    with pytest.raises(TypeError, match="no pickle"):
        client.call(work.unpicklable)
    with pytest.raises(ArithmeticError, match="poison"):
        client.call(work.poisoned)
    assert client.call(work.echo, 1) == 1


def test_functions_that_cannot_be_found(client: Any) -> None:
    with pytest.raises(ModuleNotFoundError):
        client.call("no_such_module.f")
    with pytest.raises(AttributeError):
        client.call("rpc_work.no_such_function")
    with pytest.raises(TypeError, match="can't be called"):
        client.call("rpc_work.NOTES")
    with pytest.raises(ValueError, match="no function name"):
        client.call("not a name")
    with pytest.raises(TypeError):
        client.call(3)
    assert client.call(work.echo, 1) == 1


def test_functions_that_exist_only_here(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(x: int) -> int:
        return x + 1

    assert client.call("builtins.max", 1, 2) == 2
    assert client.call("abc".upper) == "ABC"  # with its object, by value
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.delitem(sys.modules, "cloudpickle")
    if support.importlib.util.find_spec("cloudpickle"):
        assert client.call(nested, 1) == 2
        assert client.call(lambda: 5) == 5
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setattr("builtins.__import__", _without_cloudpickle(__import__))
    monkeypatch.delitem(sys.modules, "cloudpickle")
    with pytest.raises(ValueError, match="exist only here"):
        client.call(nested, 1)


def _without_cloudpickle(real: Any) -> Any:
    def import_(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cloudpickle":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    return import_


# --- target, init, events -------------------------------------------------------------------


@pytest.mark.parametrize("target", ["rpc_work:api", work])
def test_target(new_client: New, target: Any) -> None:
    client = new_client(target)
    if target is work:
        assert client.call("echo", 1) == client.call(work.echo, 1) == 1
    else:
        assert client.call("add", 1, 2) == client.call(work.Api.add, 1, 2) == 3
    for name in ("_private", "__class__", "number.real", "no_such", "os.system", ""):
        with pytest.raises(AttributeError):
            client.call(name)
    with pytest.raises(TypeError):
        client.call("number" if target is not work else "NOTES")
    with pytest.raises((AttributeError, TypeError)):
        client.call("abc".upper if target is not work else "a b")


def test_init_gets_what_was_sent(new_client: New) -> None:
    near, far = socket.socketpair()
    with near, far:
        process = earlyfork.new().send_arg("table").send_fh(far)
        client = new_client(process=process, init=work.init)
        events = client.events()
        name, table, arrived = next(events)
        arrived.close()
        assert (name, table) == ("init", "table")
        assert client.call("builtins.eval", "len(__import__('rpc_work').NOTES)") == 2


def test_a_failing_init(new_client: New, capfd: pytest.CaptureFixture[str]) -> None:
    client = new_client(init=work.failing_init)
    with pytest.raises(rpc.WorkerDied, match="its init failed") as caught:
        client.call(work.echo, 1)
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.begun is False
    assert caught.value.returncode == 1
    assert "no table" in capfd.readouterr().err


def test_events_come_in_order_with_the_answers(new_client: New) -> None:
    seen: list[Any] = []
    client = new_client(on_event=lambda *args: seen.append(args))
    for turn in range(1, 20):
        assert client.call(work.events, 3) == 3
        assert seen == [(0,), (1,), (2,)] * turn


def test_on_event_may_raise_or_call(new_client: New, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def on_event(number: int) -> None:
        if number == 0:
            raise ValueError("told")
        seen.append(client.call(work.echo, number))

    client = new_client(on_event=on_event)
    assert client.call(work.events, 3) == 3
    support.wait_until(lambda: seen == [1, 2])
    assert "told" in caplog.text


def test_events_without_a_callback(client: Any) -> None:
    client.call(work.events, 3)
    found = client.events()
    assert [next(found) for _ in range(3)] == [(0,), (1,), (2,)]
    client.close()
    assert list(found) == []


def test_the_last_event_comes_before_the_death(client: Any) -> None:
    with pytest.raises(rpc.WorkerDied) as caught:
        client.call(work.event_and_die)
    assert caught.value.returncode == 7
    assert list(client.events()) == [("last", "words")]


def test_current(client: Any) -> None:
    assert client.call(work.about) == (1, None)
    ident, left = client.options(timeout=50).call(work.about)
    assert ident == 2
    assert 40 < left <= 50


def test_retire(client: Any) -> None:
    calls = [client.submit(work.echo, 0), client.submit(work.leave), client.submit(work.echo, 1)]
    assert [call.result() for call in calls] == [0, "bye", 1]
    assert client.join(support.PATIENCE) == 0
    with pytest.raises((earlyfork.ProcessStateError, rpc.WorkerDied)):
        client.call(work.echo, 2)


def test_outside_of_a_worker() -> None:
    with pytest.raises(RuntimeError, match="no worker"):
        rpc.event(1)


# --- streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [work.count, work.count_async])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_streams(new_client: New, function: Any, concurrency: int) -> None:
    client = new_client(concurrency=concurrency)
    assert list(client.stream(function, 50, window=7)) == list(range(50))
    assert list(client.stream(function, 0)) == []
    broken_off = client.stream(function, 10**9)
    assert [next(broken_off) for _ in range(40)] == list(range(40))
    broken_off.close()
    support.wait_until(lambda: client.call(work.notes) == ["closed"] * 3)
    assert list(broken_off) == []
    del broken_off
    dropped = client.stream(function, 10**9)
    next(dropped)
    del dropped
    support.wait_until(lambda: client.call(work.notes) == ["closed"] * 4)
    assert client.pending == 0


def test_a_slow_consumer_holds_the_producer_back(client: Any) -> None:
    stream = client.stream(work.count_and_note, window=5)
    next(stream)
    for _ in range(20):
        assert len(client.call(work.notes)) <= 6


def test_calls_in_the_middle_of_a_stream(client: Any) -> None:
    for number in client.stream(work.count, 50):
        assert client.call(work.echo, number) == number


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_producer_that_breaks_off(new_client: New, concurrency: int) -> None:
    client = new_client(concurrency=concurrency)
    stream = client.stream(work.breaks_off, "raise")
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(ValueError, match="no third"):
        next(stream)
    stream = client.stream(work.breaks_off, "die")
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(rpc.WorkerDied):
        next(stream)


# --- the end --------------------------------------------------------------------------------


def test_close_answers_what_was_asked_for() -> None:
    client = rpc.Client(earlyfork.new())
    calls = [client.submit(work.echo, n) for n in range(20)]
    client.close()
    with pytest.raises(earlyfork.ProcessStateError, match="closed"):
        client.call(work.echo, 1)
    assert client.join() == 0
    assert [call.result() for call in calls] == list(range(20))


def test_the_block(client: Any) -> None:
    with client:
        call = client.submit(work.echo, 1)
    assert call.result() == 1
    assert client.process.returncode == 0


def test_an_exception_in_the_block_kills(new_client: New) -> None:
    client = new_client()
    with pytest.raises(LookupError), client:
        call = client.submit(work.spin)
        raise LookupError
    assert client.process.returncode == -signal.SIGKILL
    with pytest.raises(rpc.WorkerDied):
        call.result()


def test_join_in_time(client: Any) -> None:
    client.submit(work.spin)
    with pytest.raises(TimeoutError):
        client.join(0.05)


@pytest.mark.parametrize("when", ["idle", "computing", "reading"])
def test_a_worker_that_is_killed(client: Any, when: str, tmp_path: Path) -> None:
    client.call(work.echo, 1)
    if when == "idle":
        client.process.kill()
        support.wait_until(lambda: client.process.poll() is not None)
        with pytest.raises((rpc.WorkerDied, earlyfork.ProcessStateError)):
            client.call(work.echo, 1)
        return
    path = tmp_path / "began"
    if when == "computing":
        calls = [
            client.submit(work.spin, str(path)),
            *(client.submit(work.echo, n) for n in (1, 2)),
        ]
        support.wait_until(path.exists)
    else:
        client.process.send_signal(signal.SIGSTOP)
        calls = [client.submit(work.echo, 1), client.submit(work.echo, 2)]
    client.process.kill()
    for place, call in enumerate(calls):
        with pytest.raises(rpc.WorkerDied) as caught:
            call.result()
        died = caught.value
        assert (died.pid, died.returncode) == (client.process.pid, -9)
        assert len(died.calls) == len(calls)
        if place or when == "reading":
            assert died.begun is (False if place else None)
        else:  # known to have begun if nothing at all was left unread
            assert died.begun is not False


def test_whether_a_call_had_begun_is_known(new_client: New, tmp_path: Path) -> None:
    """Of the one that was sent last, without a timeout: by what the kernel tells of the unread."""

    def begun(prepare: Any, *, then: Any = None) -> Any:
        client = new_client()
        client.call(work.echo, 1)
        call = prepare(client)
        if then is not None:
            then(client)
        client.process.kill()
        with pytest.raises(rpc.WorkerDied) as caught:
            call.result()
        assert caught.value.begun is caught.value.calls[-1].begun
        return caught.value.begun

    def stopped(client: Any) -> None:
        client.process.send_signal(signal.SIGSTOP)
        stat = f"/proc/{client.process.pid}/stat"
        support.wait_until(lambda: Path(stat).read_text().rpartition(")")[2].split()[0] == "T")

    def runs(client: Any, name: str = "began") -> Any:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        call = client.submit(work.spin, str(path))
        support.wait_until(path.exists)
        return call

    def is_sent(client: Any) -> Any:
        stopped(client)
        return client.submit(work.echo, 1)

    def is_sent_in_part(client: Any) -> Any:
        """The rest is on its way when the worker is killed."""
        stopped(client)
        killer = threading.Thread(
            target=lambda: support.wait_until(lambda: client._outbox.queue) or client.process.kill()
        )
        killer.start()
        call = client.submit(work.echo, bytes(5_000_000))
        killer.join()
        return call

    def is_behind_a_post(client: Any) -> Any:
        path = tmp_path / "posted"
        client.post(work.spin, str(path))
        support.wait_until(path.exists)
        call = client.submit(work.echo, 1)
        # It reads when it is signalled, so nothing is left unread, and yet it has not begun.
        support.wait_until(lambda: client.process.send_signal(signal.SIGURG) or has_read(client))
        return call

    def has_read(client: Any) -> bool:
        unsent = fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4))
        return not int.from_bytes(unsent, sys.byteorder)

    assert begun(runs) is True
    assert begun(is_sent) is False
    assert begun(is_sent_in_part) is False
    assert begun(is_behind_a_post) is None
    # What is unread may be the news that nothing more will come.
    assert begun(runs, then=lambda client: client.close()) is None


def test_a_call_beside_a_stream_may_have_begun(client: Any, tmp_path: Path) -> None:
    stream = client.stream("builtins.range", 100)
    next(stream)
    path = tmp_path / "began"
    call = client.submit(work.spin, str(path))
    support.wait_until(path.exists)
    client.process.kill()
    with pytest.raises(rpc.WorkerDied) as caught:
        call.result()
    assert caught.value.begun is True


def test_a_call_beside_a_stream_is_ended(client: Any) -> None:
    stream = client.stream("builtins.range", 100)
    next(stream)
    with pytest.raises(rpc.CallTimeout):
        client.options(timeout=0.05).call(work.spin)
    assert next(stream) == 1


def test_half_an_answer(client: Any) -> None:
    """The worker is killed while it writes: the half is never taken for a whole."""
    call = client.submit("builtins.bytes", 50_000_000)
    support.wait_until(lambda: support.readable_within(client.fileno(), 1))
    client.process.kill()
    with pytest.raises(rpc.WorkerDied):
        call.result()


def test_a_worker_whose_function_does_what_it_likes(client: Any) -> None:
    assert client.call(work.disturbs) == "/"
    assert client.call(work.echo, 1) == 1
    assert client.call(work.forks) == 0
    assert client.call(work.echo, 2) == 2


def test_a_worker_ends_with_its_client() -> None:
    client = rpc.Client(earlyfork.new(), linked=False)
    client.call(work.echo, 1)
    process = client.process
    del client
    assert process.wait(support.PATIENCE) == 0


def test_a_fork_of_the_host(client: Any) -> None:
    call = client.submit(work.echo, 1)
    pid = os.fork()
    if pid == 0:
        try:
            client.call(work.echo, 2)
        except earlyfork.ProcessStateError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert call.result() == 1
    assert client.call(work.echo, 3) == 3


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no process": (lambda _: rpc.Client(42), TypeError, "takes a Process over"),  # type: ignore[arg-type]
    "its maker": (lambda _: rpc.Client(earlyfork.new), TypeError, "new.. makes it"),  # type: ignore[arg-type]
    "a result": (lambda client: client.call(len([1])), TypeError, "call.f, x. and not call.f.x"),
    "no name": (lambda client: client.call("no such"), ValueError, "pkg.mod.func or pkg.mod:obj"),
    "no module": (lambda client: client.call("nomod.f"), ModuleNotFoundError, "nomod"),
    "no function": (lambda client: client.call("math.pi"), TypeError, "pi can't be called"),
    "a generator": (lambda client: client.call(work.count, 2), TypeError, "called by `stream`"),
    "timeout": (lambda client: client.options(timeout="1"), TypeError, "number of seconds"),
    "grace": (lambda client: client.options(grace=None), TypeError, "number of seconds"),
    "cancel": (lambda client: client.options(cancel="hard"), ValueError, "soft, kill, abandon"),
    "window": (lambda _: rpc.Client(earlyfork.new(), window=None), ValueError, "at least 1"),  # type: ignore[arg-type]
    "concurrency": (
        lambda _: rpc.Client(earlyfork.new(), concurrency="2"),  # type: ignore[arg-type]
        ValueError,
        "and not '2'",
    ),
    "on_event": (lambda _: rpc.Client(earlyfork.new(), on_event=3), TypeError, "a function of"),  # type: ignore[arg-type]
    "an end": (lambda client: client.submit(work.echo, 1).set_result(2), Exception, "answer alone"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses_are_told_in_words(client: Any, name: str) -> None:
    use, kind, text = WRONG[name]
    with pytest.raises(kind, match=text):
        use(client)
    assert client.call(work.echo, 1) == 1


def test_options_that_mean_nothing(client: Any) -> None:
    for wrong in ({"timeout": 0}, {"timeout": -1}, {"cancel": "hard"}, {"grace": -1}):
        with pytest.raises(ValueError):
            client.options(**wrong)
    with pytest.raises(ValueError):
        rpc.Client(client.process, concurrency=0)
