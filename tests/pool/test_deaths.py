"""Workers that die, in each of their states: what it costs, and who is told."""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest

import earlyfork
import pool_work as work
import rpc_work
import support
from earlyfork.pool import PoolBroken, WorkerDied, _limits
from earlyfork.rpc import CallCancelled, CallTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    New = Callable[..., Any]


def test_it_is_told_as_what_it_was(pool: Any) -> None:
    with pytest.raises(WorkerDied) as caught:
        pool.submit(rpc_work.die, signal.SIGSEGV).result()
    assert caught.value.returncode == -signal.SIGSEGV
    assert caught.value.pid
    assert "signal 11 (SIGSEGV) while it ran die" in str(caught.value)
    with pytest.raises(WorkerDied, match="ended with status 3 while it ran _exit") as caught:
        pool.submit(os._exit, 3).result()
    assert caught.value.returncode == 3
    assert pool.submit(abs, -1).result() == 1


@pytest.mark.parametrize("load", [1, 2, 8])
def test_bystanders_never_notice(new_pool: New, load: int) -> None:
    """Of those that wait behind it at the worker nobody is hurt, nor are those elsewhere."""
    pool = new_pool(max_workers=2, load=load)
    jobs = []
    for number in range(60):
        jobs.append(pool.submit(abs, -number))
        if number % 10 == 5:
            jobs.append(pool.submit(os._exit, 1))
    died = [job for job in jobs if isinstance(job.exception(), WorkerDied)]
    assert len(died) == 6
    assert [job.result() for job in jobs if job not in died] == list(range(60))
    assert pool.stats().deaths == 6


def test_an_idle_worker_that_dies_costs_nothing(new_pool: New) -> None:
    deaths: list[Any] = []
    pool = new_pool(max_workers=1, on_death=deaths.append)
    for _ in range(20):
        pid = pool.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        assert pool.submit(os.getpid).result() != pid  # given while it dies
    support.wait_until(lambda: len(deaths) == 20)
    assert {death.returncode for death in deaths} == {-signal.SIGKILL}
    assert "SIGKILL" in repr(deaths[0])


def test_on_death_says_what_ran(new_pool: New) -> None:
    deaths: list[Any] = []
    pool = new_pool(max_workers=1, on_death=deaths.append)
    job = pool.submit(os._exit, 4)
    assert isinstance(job.exception(), WorkerDied)
    support.wait_until(lambda: bool(deaths))
    assert (deaths[0].fn, deaths[0].returncode) == (os._exit, 4)
    assert "ended with status 4 while it ran _exit" in repr(deaths[0])
    pool.submit(abs, 1).result()
    pool.shutdown()
    assert len(deaths) == 1  # an orderly end is none


def test_the_tail_of_its_stderr(new_pool: New, capfd: pytest.CaptureFixture[str]) -> None:
    pool = new_pool(max_workers=1, stderr="keep", load=2)
    for _ in range(2):
        jobs = [pool.submit(work.says_and_dies, "no such table"), pool.submit(abs, -1)]
        with pytest.raises(WorkerDied) as caught:
            jobs[0].result()
        assert "no such table" in caught.value.stderr
        assert "no such table" in str(caught.value)
        assert jobs[1].result() == 1
    pool.shutdown()
    capfd.readouterr()


def test_retries(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=1)
    path = tmp_path / "died"
    assert pool.options(retries=1).submit(work.die_unless, str(path)).result()
    marks = tmp_path / "marks"
    with pytest.raises(WorkerDied):
        pool.options(retries=2).submit(work.mark_and_die, str(marks)).result()
    assert marks.read_text().count("\n") == 3


def test_a_failing_init_reaches_the_job_and_three_break_the_pool(new_pool: New) -> None:
    pool = new_pool(max_workers=1, init=work.fail_init)
    jobs = [pool.submit(abs, number) for number in range(10)]
    errors = [job.exception() for job in jobs]
    assert [type(error) for error in errors] == [WorkerDied] * 3 + [PoolBroken] * 7
    assert isinstance(errors[0].__cause__, LookupError)
    assert "fail_init" in str(errors[0].__cause__.__cause__)
    assert isinstance(errors[5].__cause__, LookupError)
    with pytest.raises(PoolBroken, match="could not begin") as caught:
        pool.submit(abs, 1)
    assert isinstance(caught.value, futures.BrokenExecutor)
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(PoolBroken):
        pool.warm()


def test_a_crash_loop_in_init_ends(new_pool: New) -> None:
    pool = new_pool(max_workers=2, init=work.die_in_init)
    jobs = [pool.submit(abs, number) for number in range(5)]
    for job in jobs:
        with pytest.raises(PoolBroken, match="status 5"):
            job.result()
    support.wait_until(lambda: pool.stats().workers == 0)


def test_a_pool_recovers_from_less_than_three(new_pool: New, tmp_path: Path) -> None:
    import functools

    init = functools.partial(work.fail_two_of_three, str(tmp_path / "begun"))
    pool = new_pool(max_workers=1, init=init)
    for _ in range(3):
        # Whether both failures meet a job: the successor of a worker begins before there is one.
        failures = 0
        while (error := pool.submit(abs, -1).exception()) is not None:
            assert isinstance(error, WorkerDied)
            failures += 1
        assert 1 <= failures <= 2
        pool.broadcast(rpc_work.leave)


def test_death_while_starting_costs_no_job(new_pool: New, tmp_path: Path) -> None:
    """A worker that is killed in the middle of its init had nothing yet."""
    import functools

    began, until = tmp_path / "began", tmp_path / "until"
    pool = new_pool(
        max_workers=1, init=functools.partial(work.mark_and_wait, str(began), str(until))
    )
    job = pool.submit(abs, -1)
    support.wait_until(lambda: began.exists() and began.read_text().endswith("\n"))
    os.kill(int(began.read_text()), signal.SIGKILL)
    until.touch()
    assert job.result() == 1


@pytest.mark.parametrize("max_tasks", [1, 7])
def test_max_tasks(new_pool: New, max_tasks: int) -> None:
    pool = new_pool(max_workers=2, max_tasks=max_tasks)
    pids = [job.result() for job in [pool.submit(os.getpid) for _ in range(42)]]
    assert max(pids.count(pid) for pid in pids) == max_tasks
    assert pool.stats().deaths == 0


@pytest.mark.slow
def test_max_tasks_against_many_that_wait(new_pool: New) -> None:
    pool = new_pool(max_workers=2, max_tasks=100, load=4)
    jobs = [pool.submit(abs, -number) for number in range(10_000)]
    assert [job.result() for job in jobs] == list(range(10_000))
    assert pool.stats().deaths == 0


def test_max_memory(new_pool: New) -> None:
    pool = new_pool(max_workers=1, max_memory=200_000_000)
    pid = pool.submit(work.grow, 1000).result()
    assert pool.submit(work.grow, 300_000_000).result() == pid
    assert pool.submit(work.grow, 1000).result() != pid
    assert pool.stats().deaths == 0


def test_retire(new_pool: New) -> None:
    pool = new_pool(max_workers=1, load=4)
    first = pool.submit(os.getpid).result()
    jobs = [pool.submit(rpc_work.leave)] + [pool.submit(os.getpid) for _ in range(20)]
    assert jobs[0].result() == "bye"
    assert all(job.result() for job in jobs)
    support.wait_until(lambda: pool.submit(os.getpid).result() != first)
    assert pool.stats().deaths == 0


def test_death_while_it_retires(new_pool: New) -> None:
    """Killed after its word that it retires: what it had not begun is done by its successor."""
    pool = new_pool(max_workers=1, load=4)
    for _ in range(10):
        pid = pool.submit(os.getpid).result()
        job = pool.submit(rpc_work.leave)
        assert job.result() == "bye"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert pool.submit(abs, -1).result() == 1


def test_timeouts_count_from_the_start_of_the_job(new_pool: New) -> None:
    pool = new_pool(max_workers=1, load=3)
    jobs = [pool.options(timeout=0.4).submit("time.sleep", 0.25) for _ in range(3)]
    assert [job.result() for job in jobs] == [None] * 3
    with pytest.raises(CallTimeout):
        pool.options(timeout=0.05).submit("time.sleep", 60).result()
    assert pool.submit(abs, -1).result() == 1
    assert pool.stats().deaths == 0


def test_the_timeout_of_all(new_pool: New) -> None:
    pool = new_pool(max_workers=1, timeout=0.05)
    assert isinstance(pool.submit(rpc_work.spin).exception(), CallTimeout)
    with pytest.raises(CallTimeout):
        list(pool.map("time.sleep", [0, 60]))
    assert pool.options(timeout=5).submit("time.sleep", 0.1).result() is None


@pytest.mark.parametrize("what", ["block", "stubborn"])
def test_a_job_that_does_not_end_is_killed_after_its_grace(
    new_pool: New, tmp_path: Path, what: str
) -> None:
    pool = new_pool(max_workers=1, load=2)
    pool.submit(abs, 1).result()
    job = pool.options(timeout=0.05).submit(getattr(rpc_work, what), str(tmp_path / "began"))
    other = pool.submit(abs, -1)
    assert isinstance(job.exception(), CallTimeout)
    assert other.result() == 1
    assert pool.stats().deaths == 1


@pytest.mark.parametrize("waits", [False, True])
def test_cancel_a_running_job(pool: Any, tmp_path: Path, *, waits: bool) -> None:
    began = tmp_path / "began"
    job = pool.submit(rpc_work.spin, str(began))
    support.wait_until(began.exists)
    assert job.running()
    assert job.cancel()
    assert job.cancelled()
    assert job.done()
    with pytest.raises(CallCancelled):
        job.result()
    if waits:
        assert futures.wait([job]).done == {job}
    assert pool.submit(abs, -1).result() == 1
    support.wait_until(lambda: pool.stats().running == 0)
    assert pool.stats().deaths == 0


def test_cancel_a_job_that_waits(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=1)
    began, until, marks = tmp_path / "began", tmp_path / "until", tmp_path / "marks"
    first = pool.submit(work.mark_and_wait, str(began), str(until))
    support.wait_until(began.exists)
    jobs = [pool.submit(work.leave_mark, str(marks)) for _ in range(200)]
    for job in jobs[:199]:
        assert job.cancel()
    assert not first.done()
    assert pool.stats().waiting == 1
    until.touch()
    jobs[199].result()
    assert marks.read_text().count("\n") == 1
    assert pool.stats().cancelled == 199
    assert not jobs[199].cancel()


def test_cancel_of_one_never_hits_another(new_pool: New) -> None:
    pool = new_pool(max_workers=1, load=4)
    for number in range(100):
        job = pool.submit("time.sleep", 0)
        other = pool.submit(abs, -number)
        job.cancel()
        assert other.result() == number


def test_the_template_is_killed(new_pool: New) -> None:
    """Workers go on, and their successors come from another template."""
    template = earlyfork.new().require("json")
    pool = new_pool(template, max_workers=1)
    assert pool.submit("json.loads", "[1]").result() == [1]
    pid = pool.submit(os.getppid).result()
    os.kill(pid, signal.SIGKILL)
    assert support.gone_within(pid)
    assert pool.submit("json.loads", "[2]").result() == [2]
    assert isinstance(pool.submit(os._exit, 1).exception(), WorkerDied)
    assert pool.submit("json.loads", "[3]").result() == [3]
    template.close()


def test_a_template_that_is_gone_breaks_the_pool_in_words(new_pool: New) -> None:
    template = earlyfork.new()
    pid = template.ready().pid
    pool = new_pool(template, max_workers=1)
    os.kill(pid, signal.SIGKILL)
    support.gone_within(pid)
    with pytest.raises(PoolBroken) as caught:
        pool.submit(abs, 1).result()
    assert isinstance(caught.value.__cause__, earlyfork.TemplateDied)
    template.close()


def test_a_stream_whose_worker_dies(pool: Any) -> None:
    items = pool.stream(rpc_work.breaks_off, "die")
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(WorkerDied):
        next(items)
    assert pool.submit(abs, -1).result() == 1


def test_min_idle_and_idle_timeout(new_pool: New) -> None:
    pool = new_pool(max_workers=4, min_idle=2, idle_timeout=0.05)
    support.wait_until(lambda: pool.stats().idle == 2)
    pool.warm(4)
    support.wait_until(lambda: pool.stats().workers == 2)
    for pid in pool.broadcast(os.getpid):
        os.kill(pid, signal.SIGKILL)
    support.wait_until(lambda: pool.stats().deaths == 2 and pool.stats().idle == 2)


def test_a_pool_at_rest_has_no_workers_and_no_thread(new_pool: New) -> None:
    import threading

    pool = new_pool(max_workers=2, idle_timeout=0.02)
    assert pool.submit(abs, -1).result() == 1
    support.wait_until(lambda: pool.stats().workers == 0)
    support.wait_until(
        lambda: "earlyfork-pool" not in [thread.name for thread in threading.enumerate()]
    )
    assert pool.submit(abs, -1).result() == 1


def test_start_delay(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=2, start_delay=0.2)
    path = tmp_path / "marks"
    pool.submit(abs, 1).result()
    until = tmp_path / "until"
    jobs = [pool.submit(work.mark_and_wait, str(path), str(until)) for _ in range(2)]
    support.wait_until(path.exists)
    assert pool.stats().workers == 1
    support.wait_until(lambda: path.read_text().count("\n") == 2)
    until.touch()
    assert len({job.result() for job in jobs}) == 2


def test_start_delay_of_0_is_0(new_pool: New, tmp_path: Path) -> None:
    pool = new_pool(max_workers=3)
    until = tmp_path / "until"
    (tmp_path / "marks").touch()
    jobs = [pool.submit(work.mark_and_wait, str(tmp_path / "marks"), str(until)) for _ in range(3)]
    assert pool.stats().workers == 3
    support.wait_until(lambda: (tmp_path / "marks").read_text().count("\n") == 3)
    until.touch()
    assert len({job.result() for job in jobs}) == 3


def test_the_most_recently_used_worker_comes_first(new_pool: New) -> None:
    pool = new_pool(max_workers=4)
    pool.warm()
    assert len({pool.submit(os.getpid).result() for _ in range(20)}) == 1


def test_concurrency(new_pool: New) -> None:
    pool = new_pool(max_workers=1, concurrency=2)
    jobs = [pool.submit(rpc_work.meet) for _ in range(2)]  # each returns when both run
    assert all(job.result() for job in jobs)
    assert pool.submit(rpc_work.double, 4).result() == 8


def test_what_the_system_grants(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/a\n1:cpu,cpuacct:/a/b\n0::/c/d\n",
        "sys/fs/cgroup/c/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/c/d/cpu.max": "max 100000\n",
        "sys/fs/cgroup/memory/a/memory.oom_control": "oom_kill_disable 0\noom_kill 7\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert _limits.available_cpus(str(tmp_path)) == min(mine or 1, 2)
    assert _limits.out_of_memory_kills(str(tmp_path)) == 7
    (tmp_path / "sys/fs/cgroup/cpu/a/b").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us").write_text("100000\n")
    assert _limits.available_cpus(str(tmp_path)) == 1
    (tmp_path / "sys/fs/cgroup/c/memory.events").write_text("low 0\noom_kill 3\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/c\n")
    assert _limits.out_of_memory_kills(str(tmp_path)) == 3
    assert _limits.out_of_memory_kills(str(tmp_path / "nowhere")) is None
