"""What a pool does with its jobs when all goes well."""

from __future__ import annotations

import operator
import os
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import pool_work as work
import rpc_work
import support
from earlyfork import aio
from earlyfork.pool import Pool, PoolBroken

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    New = Callable[..., Any]


def test_results_and_errors(pool: Any) -> None:
    assert isinstance(pool, futures.Executor)
    job = pool.submit(operator.add, 1, 2)
    assert isinstance(job, futures.Future)
    assert job.result() == 3
    assert job.done()
    assert job.exception() is None
    failing = pool.submit(operator.truediv, 1, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        failing.result()
    assert isinstance(caught.value.__cause__, earlyfork.RemoteError)
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert pool.submit(rpc_work.args_of, 1, a=2).result() == ((1,), {"a": 2})


def test_the_caller_learns_at_once_what_can_not_be_sent(pool: Any) -> None:
    with pytest.raises(TypeError, match="no pickle of this"):
        pool.submit(rpc_work.echo, rpc_work.Unpicklable())
    with pytest.raises(ValueError, match="no function name"):
        pool.submit("a b")
    with pytest.raises(TypeError):
        pool.submit(3)
    assert pool.stats().waiting == 0


def test_values_are_sent_as_they_were(new_pool: New, tmp_path: Path) -> None:
    """A job that waits is not changed by what its caller does with its arguments."""
    pool = new_pool(max_workers=1)
    began, until = tmp_path / "began", tmp_path / "until"
    first = pool.submit(work.mark_and_wait, str(began), str(until))
    data = bytearray(b"a" * 200_000)
    second = pool.submit(rpc_work.Blob.reversed, rpc_work.Blob(data))
    data[:] = bytes(len(data))
    until.touch()
    first.result()
    assert bytes(second.result().data) == b"a" * 200_000


def test_files_in_arguments(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=1)
    began, until = tmp_path / "began", tmp_path / "until"
    (tmp_path / "file").write_text("text")
    first = pool.submit(work.mark_and_wait, str(began), str(until))
    with open(tmp_path / "file") as file:
        second = pool.submit(rpc_work.read_all, file)
    until.touch()
    first.result()
    assert second.result() == ["text"]


def test_map(pool: Any) -> None:
    assert list(pool.map(operator.add, range(100), range(100))) == list(range(0, 200, 2))
    assert list(pool.map(abs, range(-50, 0), chunksize=7)) == list(range(50, 0, -1))
    assert sorted(pool.map(abs, range(-50, 0), ordered=False)) == list(range(1, 51))
    assert list(pool.map(abs, [])) == []
    found = []
    with pytest.raises(ZeroDivisionError) as caught:
        found += [found.append(x) for x in pool.map(operator.truediv, [1, 2, 3], [1, 1, 0])]
    assert found == [1, 2]
    assert isinstance(caught.value.__cause__, earlyfork.RemoteError)


def test_an_error_in_a_chunk_comes_after_the_results_before_it(pool: Any) -> None:
    results = pool.map(operator.truediv, [1, 2, 3], [1, 1, 0], chunksize=3)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_is_lazy(pool: Any) -> None:
    taken = 0

    def numbers() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = pool.map(abs, numbers())
    assert taken == 4
    assert [next(results) for _ in range(10)] == list(range(1, 11))
    assert taken <= 15
    results.close()
    assert list(results) == []
    assert next(pool.map(abs, numbers(), buffersize=1)) == taken - 1


def test_map_in_time(pool: Any) -> None:
    results = pool.map("time.sleep", [0, 60], timeout=0.3)
    assert next(results) is None
    with pytest.raises(futures.TimeoutError):
        next(results)
    support.wait_until(lambda: pool.stats().running == 0)
    assert pool.submit(abs, -1).result() == 1


def test_an_abandoned_map_leaves_nothing_running(pool: Any) -> None:
    results = pool.map("time.sleep", [60] * 10)
    del results
    assert pool.submit(abs, -1).result() == 1
    support.wait_until(lambda: pool.stats().running == 0)
    assert pool.stats().waiting == 0


def test_priority(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=1)
    began, until, order = tmp_path / "began", tmp_path / "until", tmp_path / "order"
    pool.submit(work.mark_and_wait, str(began), str(until))
    done: list[str] = []
    support.wait_until(began.exists)
    jobs = [
        pool.options(priority=priority).submit(rpc_work.echo, name)
        for name, priority in (("c", 0), ("d", 0), ("a", 2), ("b", 2), ("e", -1))
    ]
    for job in jobs:
        job.add_done_callback(lambda job: done.append(job.result()))
    until.touch()
    futures.wait(jobs)
    support.wait_until(lambda: len(done) == 5)
    assert "".join(done) == "abcde"
    assert not order.exists()


def test_max_queue(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=1, max_queue=2)
    began, until = tmp_path / "began", tmp_path / "until"
    pool.submit(work.mark_and_wait, str(began), str(until))
    support.wait_until(began.exists)
    pool.submit(abs, 1)
    pool.submit(abs, 2)
    given = threading.Event()

    def give() -> None:
        pool.submit(abs, 3)
        given.set()

    thread = threading.Thread(target=give)
    thread.start()
    assert not given.wait(0.05)
    until.touch()
    assert given.wait(support.PATIENCE)
    thread.join()


def test_streams(pool: Any) -> None:
    assert list(pool.stream(rpc_work.count, 40, window=3)) == list(range(40))
    with pool.stream(rpc_work.count, 10**9) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
    assert pool.submit(abs, -1).result() == 1
    with pytest.raises(ValueError, match="no third"):
        list(pool.stream(rpc_work.breaks_off, "raise"))
    items = pool.stream(rpc_work.count, 10**9)
    next(items)
    del items
    support.wait_until(lambda: pool.stats().running == 0)


def test_broadcast_warm_resize(new_pool: New) -> None:
    pool = new_pool(max_workers=3)
    assert pool.broadcast(os.getpid) == []
    pool.warm()
    pids = pool.broadcast(os.getpid)
    assert len(set(pids)) == 3
    pool.resize(1)
    support.wait_until(lambda: pool.stats().workers == 1)
    assert len(pool.broadcast(os.getpid)) == 1
    pool.resize(2)
    pool.warm()
    assert pool.stats().workers == 2


def test_init_and_exit(new_pool: New, tmp_path: Path) -> None:
    template = earlyfork.new().send_arg("a", 1)
    path = tmp_path / "exits"
    pool = new_pool(template, max_workers=1, init=work.note_init, exit=str_exit(path))
    assert pool.submit(work.noted).result() == ("a", 1)
    pid = pool.submit(os.getpid).result()
    pool.shutdown()
    assert path.read_text() == f"{pid}\n"
    template.close()


def str_exit(path: Path) -> Any:
    import functools

    return functools.partial(work.leave_mark, str(path))


def test_callbacks(pool: Any) -> None:
    found: list[Any] = []
    told = threading.Event()

    def again(job: Any) -> None:
        found.append((job.result(), threading.current_thread().name))
        found.append(pool.submit(abs, -5).result())
        told.set()

    pool.submit(abs, -4).add_done_callback(again)
    assert told.wait(support.PATIENCE)
    assert found == [(4, "earlyfork-pool"), 5]
    job = pool.submit(abs, -3)
    job.result()
    job.add_done_callback(lambda job: found.append(job.result()))
    assert found[-1] == 3


def test_events(new_pool: New) -> None:
    found: list[Any] = []
    pool = new_pool(max_workers=1, on_event=lambda *args: found.append(args))
    assert pool.submit(rpc_work.events, 5).result() == 5
    support.wait_until(lambda: len(found) == 5)
    assert found == [(number,) for number in range(5)]


def test_wait_and_as_completed(pool: Any) -> None:
    jobs = [pool.submit(abs, -n) for n in range(50)]
    done, left = futures.wait(jobs, timeout=support.PATIENCE)
    assert len(done) == 50
    assert not left
    jobs = [pool.submit(abs, -n) for n in range(50)]
    assert sorted(job.result() for job in futures.as_completed(jobs)) == list(range(50))


def test_nobody_waits(new_pool: New, tmp_path: Path) -> None:
    """The jobs of a pool move on when no thread waits for them."""
    pool = new_pool(max_workers=2)
    path = tmp_path / "marks"
    for _ in range(20):
        pool.submit(work.leave_mark, str(path))
    support.wait_until(lambda: path.exists() and path.read_text().count("\n") == 20)


def test_ten_threads(pool: Any) -> None:
    found = []

    def ask(start: int) -> None:
        found.append([pool.submit(abs, -n).result() for n in range(start, start + 50)])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [list(range(n, n + 50)) for n in range(10)]


def test_settings_that_mean_nothing() -> None:
    for wrong in (
        {"max_workers": 0},
        {"load": 0},
        {"load": 1, "concurrency": 2},
        {"min_idle": 3, "max_workers": 2},
        {"max_tasks": 0},
        {"max_queue": 0},
        {"timeout": 0},
        {"retries": -1},
        {"start_delay": -1},
    ):
        with pytest.raises(ValueError, match=r"number|at least|greater"):
            Pool(**wrong)


@pytest.mark.parametrize("kind", [Pool, aio.Pool])
def test_settings_of_another_kind(kind: Any) -> None:
    with pytest.raises(TypeError, match="not 2; how many there are is max_workers="):
        kind(2)  # as ProcessPoolExecutor is given them
    for wrong in ({"max_workers": "2"}, {"on_death": 1}, {"idle_timeout": "10"}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} is a"):
            kind(**wrong)


def test_after_shutdown(new_pool: New) -> None:
    pool = new_pool(max_workers=1)
    jobs = [pool.submit(abs, -n) for n in range(10)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(abs, 1)
    assert [job.result() for job in jobs] == list(range(10))
    pool.shutdown()
    assert pool.stats().workers == 0
    assert not issubclass(RuntimeError, PoolBroken)


def test_a_dropped_pool_does_what_it_was_given_and_ends(tmp_path: Path) -> None:
    pool = Pool(max_workers=1, idle_timeout=None)
    pid = pool.submit(os.getpid).result()
    jobs = [pool.submit(work.leave_mark, str(tmp_path / "marks")) for _ in range(5)]
    del pool
    assert [job.result() for job in jobs] == [None] * 5
    assert support.gone_within(pid)
