"""A pool's workers: how they begin, rest and end. `Core`, which has the jobs, is made of this."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import earlyfork
from earlyfork import EarlyForkError, TemplateDied
from earlyfork.pool import _limits
from earlyfork.pool._errors import PoolBroken
from earlyfork.pool._there import Setup
from earlyfork.pool._worker import Worker
from earlyfork.rpc import _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._names import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork import Process
    from earlyfork.pool._job import Job
    from earlyfork.pool._reactor import Reactor

#: So many workers that fail in a row before they have begun are enough.
FAILURES = 3
#: Seconds until a worker is tried again that could not be made.
PAUSE = 0.02


class Stats(NamedTuple):
    """What a pool is doing.

    Attributes:
        workers: how many there are, those included that are only beginning or just leaving.
        idle: how many of them have nothing to do; `starting`: how many have not begun.
        waiting: jobs that no worker has; `running`: jobs that a worker has.
        done: jobs that have ended in some way but by `cancel`; `cancelled`: those that have.
        deaths: workers that have died.
    """

    workers: int
    idle: int
    starting: int
    waiting: int
    running: int
    done: int
    cancelled: int
    deaths: int


class Settings(NamedTuple):
    """What a pool was told; see `Pool`."""

    max_workers: int
    min_idle: int
    load: int
    start_delay: float
    idle_timeout: float | None
    max_tasks: int | None
    max_memory: int | None
    concurrency: int
    init: Any
    exit: Any
    on_event: Callable[..., object] | None
    on_death: Callable[..., object] | None
    stderr: str | None
    visible: bool


class Staff:
    """The workers of one pool."""

    def __init__(self, reactor: Reactor, template: Process | None, settings: Settings) -> None:
        self.reactor: Any = reactor
        self.max_workers = settings.max_workers
        self.min_idle = settings.min_idle
        self.load = settings.load
        self.start_delay = settings.start_delay
        self.idle_timeout = settings.idle_timeout
        self.max_tasks = settings.max_tasks
        self.max_memory = settings.max_memory
        self.concurrency = settings.concurrency
        self.on_event = settings.on_event
        self.on_death = settings.on_death
        self.stderr = settings.stderr
        self.visible = settings.visible
        #: The user's template, and the pool's own, which is a clone of that.
        self.source = template
        self.own: Process | None = None
        self.has_main = has_main = template is not None and template.has_main
        setup = Setup(
            portable(settings.init, has_main=has_main), portable(settings.exit, has_main=has_main)
        )
        self.hello = _session.hello(None, setup, self.concurrency, has_main=has_main)
        self.workers: set[Worker] = set()
        #: Those that have nothing to do, the most recently used last.
        self.idle: list[Worker] = []
        #: How many workers count as one of `max_workers`, and how many of them have not begun.
        self.size = self.starting = 0
        #: How many are wanted, busy or not, by `warm`.
        self.warmed = 0
        self.failures = 0
        self.why_not: Callable[[], BaseException] | None = None
        #: Why no job can be given any more; empty as long as some can.
        self.closed = ""
        self.killed = False
        #: Of which process this one is a fork, if it is.
        self.foreign = 0
        self._grows_later = self._checks_idle = False
        self.kills = _limits.out_of_memory_kills()
        self.deaths = 0
        reactor.cores.add(self)

    # -- what the jobs say ---------------------------------------------------------------------

    def waits(self) -> int:
        """How many jobs wait."""
        raise NotImplementedError

    def next_job(self) -> Job | None:
        """The first job that waits, taken out of those that do."""
        raise NotImplementedError

    def finish(self, job: Job, state: str) -> None:
        """A job has ended."""
        raise NotImplementedError

    def dispatch(self) -> None:
        """Give jobs that wait to workers that may have more."""
        raise NotImplementedError

    def settle(self) -> None:
        """When nothing is to be done any more, have the workers leave."""
        raise NotImplementedError

    # -- their rest ----------------------------------------------------------------------------

    def rest(self, worker: Worker) -> None:
        """A worker has nothing to do."""
        if self.closed and not self.waits():
            worker.leave()
            self.uncount(worker)
            return
        if self.size > self.max_workers:
            worker.leave()
            self.uncount(worker)
            return
        worker.idle_since = monotonic()
        worker.resting = True
        self.idle.append(worker)
        if not self._checks_idle and self.idle_timeout is not None:
            self._check_idle_at(worker.idle_since + self.idle_timeout)

    def _is_large(self, worker: Worker) -> bool:
        if worker.pid is None:
            worker.pid = worker._process.pid
        size = _limits.resident(worker.pid)
        assert self.max_memory is not None
        return size is not None and size > self.max_memory

    def _check_idle_at(self, when: float) -> None:
        self._checks_idle = True
        self.reactor.at(when, self.check_idle, self)

    def check_idle(self) -> None:
        """End the workers that have had nothing to do for too long."""
        self._checks_idle = False
        if self.idle_timeout is None or not self.idle:
            return
        now = monotonic()
        while len(self.idle) > max(self.min_idle, 0):
            worker = self.idle[0]
            when = worker.idle_since + self.idle_timeout
            if when > now:
                self._check_idle_at(when)
                return
            self.warmed = 0
            worker.leave()
            self.uncount(worker)

    # -- their beginning -----------------------------------------------------------------------

    def grow(self) -> None:
        """Begin workers for jobs that wait, and as many more as are to be idle."""
        while self.size < self.max_workers:
            idle = len(self.idle) + self.starting
            if self.waits() > self.starting:
                if self.start_delay > 0 and self.size:
                    self._grow_later()
                    return
            elif self.closed or (idle >= self.min_idle and self.size >= self.warmed):
                return
            if not self.begin():
                return

    def _grow_later(self) -> None:
        if not self._grows_later:
            self._grows_later = True
            self.reactor.at(monotonic() + self.start_delay, self._grow_now, self)

    def _grow_now(self) -> None:
        self._grows_later = False
        if self.waits() > self.starting and self.size < self.max_workers:
            self.begin()
            self.grow()

    def _try_again(self) -> None:
        self._grows_later = False
        self.dispatch()

    def begin(self) -> bool:
        """Begin one worker; False if that can't be just now."""
        try:
            Worker(self, self.fork(), self.hello)
        except (EarlyForkError, OSError) as error:
            if not self._grows_later:
                self._grows_later = True
                self.reactor.at(monotonic() + PAUSE, self._try_again, self)
            if not self.size:
                self._failed(error)
            return False
        self.size += 1
        self.starting += 1
        return True

    def fork(self) -> Process:
        """A new process, from the pool's own template."""
        if self.own is not None:
            try:
                return self.own.fork()
            except TemplateDied:
                self.own.close()
        base = earlyfork.new() if self.source is None else self.source.fork()
        # What every worker loads is loaded once, here.
        self.own = base.require("earlyfork.rpc._serve", "earlyfork.pool._there")
        if self.concurrency > 1:
            self.own.require("earlyfork.rpc._tasks")
        return self.own.fork()

    def began(self, worker: Worker) -> None:
        """A worker has begun."""
        self.starting -= 1
        self.failures = 0
        if self.closed and not self.waits():
            worker.leave()
            self.uncount(worker)

    # -- their end -----------------------------------------------------------------------------

    def uncount(self, worker: Worker) -> None:
        """This one leaves room for another one."""
        if worker.counted:
            worker.counted = False
            self.size -= 1
            if not worker.up:
                self.starting -= 1
        if worker.resting:
            worker.resting = False
            self.idle.remove(worker)

    def goes(self, worker: Worker) -> None:
        """A worker has closed its socket: its successor begins at once."""
        needed = worker.given and not worker.leaving and not self.closed
        self.uncount(worker)
        if needed and self.size < self.max_workers:
            self.begin()
        self.dispatch()

    def gone(
        self,
        worker: Worker,
        returncode: int | None,
        words: str,
        why: str,
        error: Exception | None,
    ) -> None:
        """A worker's process is gone: each job that it had ends, or goes to another one."""
        self.uncount(worker)
        worker.not_begun.update(job.ident for job, _ in worker.fresh)
        worker.flush()
        state = worker._session
        self.reactor.timed.discard(worker)
        calls = state.calls
        if not worker.up or (state.retired and returncode == 0):
            worker.not_begun.update(calls)
        running = [calls[ident] for ident in list(calls)[: self.concurrency]]
        names = ", ".join(job.name for job in running if job.ident not in worker.not_begun)
        how = why or (str(error) if error is not None else self._how(returncode, names))
        failed = state.failure is not None
        unread = worker.has_unread() if not why else None
        state.end(worker.pid, returncode, words, how, unread=unread)
        self.workers.discard(worker)
        worker._process.close()
        if not worker.up and not worker.leaving:
            self._failed(None, worker, tell=failed)
        if (running or not worker.leaving) and not self.killed:
            self.deaths += 1
            if self.on_death is not None:
                death = Death(worker.pid, returncode, running[0].function if running else None, how)
                self.reactor.call_later([(self.on_death, (death,))])
        self.dispatch()
        self.settle()

    def _how(self, returncode: int | None, names: str) -> str:
        if returncode is None:
            how = "is lost: nobody can know how it ended"
        elif returncode < 0:
            how = f"was ended by {signal_name(-returncode)}"
        else:
            how = f"ended with status {returncode}"
        if names:
            how += f" while it ran {names}"
        if returncode == -9:
            kills = _limits.out_of_memory_kills()
            if kills is not None and self.kills is not None and kills > self.kills:
                self.kills = kills
                how += "; probably by the kernel, for want of memory"
        return how

    def _failed(
        self, error: Exception | None, worker: Worker | None = None, *, tell: bool = False
    ) -> None:
        """A worker could not begin. One job learns why; after three in a row all do."""
        self.failures += 1
        if worker is not None and tell:
            job = self.next_job()
            if job is not None:
                job.worker = worker
                job.message = (wire.DIED, 0, 0, worker._session.ended, (), ())
                self.finish(job, "FINISHED")
        if self.failures < FAILURES or self.why_not is not None:
            return

        def why_not() -> BaseException:
            return error if worker is None else worker._session.death(0)  # type: ignore[return-value]

        self.why_not = why_not
        self.closed = self.closed or "no worker of the pool can begin"
        while (job := self.next_job()) is not None:
            job.is_broken = True
            self.finish(job, "FINISHED")

    def breakage(self) -> PoolBroken:
        """Why no worker begins."""
        assert self.why_not is not None
        cause = self.why_not()
        found = PoolBroken(f"{FAILURES} workers in a row could not begin: {cause}")
        found.__cause__ = cause.__cause__ or cause
        return found


class Death:
    """A worker that has died: what `on_death` is called with.

    Attributes:
        pid: the worker's.
        returncode: its exit status, or minus the signal's number; None if nobody can know.
        fn: the function that it ran, or its name; None if it ran none.
    """

    __module__ = "earlyfork.pool"

    def __init__(self, pid: int | None, returncode: int | None, fn: Any, how: str) -> None:
        self.pid = pid
        self.returncode = returncode
        self.fn = fn
        self._how = how

    def __repr__(self) -> str:
        return f"<Death of worker {self.pid}: it {self._how}>"


def signal_name(number: int) -> str:
    """'signal 9 (SIGKILL)'."""
    import signal

    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def portable(function: Any, *, has_main: bool) -> Any:
    """A function as it travels: its name, or what it consists of."""
    if function is None:
        return None
    found = name_of(function, has_main=has_main, has_target=False)
    if found is not None:
        return found
    import types

    by_value = isinstance(function, types.FunctionType)
    return _session._ByValue(function) if by_value else function
