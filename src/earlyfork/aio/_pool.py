"""`Pool`: as `earlyfork.pool.Pool`, for the tasks of one event loop, which drives it."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from earlyfork.aio._loops import loop
from earlyfork.aio._reactors import AsyncioReactor, TrioReactor
from earlyfork.pool._core import Core
from earlyfork.pool._job import Job
from earlyfork.pool._options import BaseOptions, checked
from earlyfork.pool._streams import BaseStream, Items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from earlyfork import Process
    from earlyfork.pool import Death, Stats


class _Awaited:
    """A job that a task waits for, whoever made it."""

    #: What is set when the worker has the job no more.
    event: Any = None
    released = False

    def arrived(self) -> None:
        super().arrived()  # type: ignore[misc]
        self._set()

    def end(self, state: str) -> None:
        """As `Job.end`."""
        super().end(state)  # type: ignore[misc]
        self._set()

    def _set(self) -> None:
        event, self.event = self.event, None
        if event is not None:
            event.set()


class AwaitedJob(_Awaited, Job):
    """A job that a task waits for."""


class AwaitedItems(_Awaited, Items):
    """A stream that a task waits for."""


async def _wait(job: Any, kind: Any, done: Callable[[], bool]) -> None:
    while not done():
        job.event = event = kind.Event()
        await event.wait()


class Pool:
    """Workers that do jobs for the tasks of one event loop.

    Arguments, results and errors are those of `earlyfork.pool.Pool`. A task that is cancelled while
    it waits for a job has the job cancelled, and waits until the worker has left it; if that takes
    more than a second, the worker is killed. No thread is made; callbacks are called by the loop.
    """

    def __init__(  # noqa: PLR0913 - as many as `earlyfork.pool.Pool` has
        self,
        template: Process | None = None,
        *,
        max_workers: int | None = None,
        min_idle: int = 0,
        load: int | None = None,
        start_delay: float = 0.0,
        idle_timeout: float | None = 10.0,
        max_tasks: int | None = None,
        max_memory: int | None = None,
        timeout: float | None = None,
        init: Any = None,
        exit: Any = None,  # noqa: A002 - beside `init`
        concurrency: int = 1,
        max_queue: int | None = None,
        retries: int = 0,
        on_event: Callable[..., object] | None = None,
        on_death: Callable[[Death], object] | None = None,
        stderr: str | None = None,
        visible: bool = True,
    ) -> None:
        settings = checked(
            template,
            max_workers=max_workers,
            min_idle=min_idle,
            load=load,
            start_delay=start_delay,
            idle_timeout=idle_timeout,
            max_tasks=max_tasks,
            max_memory=max_memory,
            max_queue=max_queue,
            concurrency=concurrency,
            init=init,
            exit=exit,
            on_event=on_event,
            on_death=on_death,
            stderr=stderr,
            visible=visible,
        )
        self._kind = kind = loop()
        self._reactor = AsyncioReactor(kind) if kind.name == "asyncio" else TrioReactor(kind)
        self._max_queue = max_queue
        self._core = Core(self._reactor, template, settings)
        self._default = PoolOptions(self, timeout, 0, retries)

    def __repr__(self) -> str:
        found = self.stats()
        return f"<Pool, {found.workers} workers, {found.running} running, {found.waiting} waiting>"

    async def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Have a worker call a function, and wait for its result.

        Raises:
            WorkerDied: its worker ended while it ran.
            PoolBroken: no worker can begin.
            RuntimeError: the pool is shut down.
            BaseException: what the function has raised.
        """
        return await self._default.call(fn, *args, **kwargs)

    def map(
        self, fn: Any, items: Any, *, buffersize: int | None = None, ordered: bool = True
    ) -> AsyncIterator[Any]:
        """Call a function with each item of an iterable or async iterable.

        Args:
            fn: a function of a module, or its name.
            items: what it is called with, one after the other; may be infinite.
            buffersize: how many jobs may be ahead of what was taken. Default: twice as many as the
                workers can have.
            ordered: False: results come as they are ready.

        Returns:
            An async iterator over the results. What has not ended when it is closed is cancelled.
        """
        return self._default.map(fn, items, buffersize=buffersize, ordered=ordered)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> PoolStream:
        """Iterate (`async for`) over a generator in a worker. As `earlyfork.pool.Pool.stream`."""
        return self._default.stream(fn, *args, window=window, **kwargs)

    def options(
        self, *, timeout: float | None = None, priority: int = 0, retries: int | None = None
    ) -> PoolOptions:
        """The same with options: see `earlyfork.pool.Pool.options`."""
        default = self._default
        return PoolOptions(
            self,
            default._timeout if timeout is None else timeout,
            priority,
            default._retries if retries is None else retries,
        )

    async def broadcast(self, fn: Any, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function once in each worker that there is now; a list of the results."""
        core = self._core
        core.check_open()
        packed = Job(core)
        core.pack(packed, fn, args, kwargs)
        jobs = core.give_all(packed, lambda: AwaitedJob(core))
        for job in jobs:
            await _wait(job, self._kind, lambda job=job: job.over)  # type: ignore[misc]
        return [job.result() for job in jobs]

    async def warm(self, number: int | None = None) -> None:
        """Have so many workers ready (default: `max_workers`), and wait for them."""
        core = self._core
        core.check_open()
        wanted = core.max_workers if number is None else min(number, core.max_workers)
        core.warmed = wanted
        core.grow()
        await self._reactor.until(lambda: bool(core.closed) or core.size - core.starting >= wanted)
        if core.why_not is not None:
            raise core.breakage()

    def resize(self, number: int) -> None:
        """Have at most so many workers. As `earlyfork.pool.Pool.resize`."""
        if number < 1:
            raise ValueError(f"max_workers is at least 1, not {number!r}")
        self._core.resize(number)

    def stats(self) -> Stats:
        """What the pool is doing."""
        return self._core.stats()

    def terminate(self) -> None:
        """Cancel what waits, and end the workers by SIGTERM."""
        self._core.signal("terminate")

    def kill(self) -> None:
        """Cancel what waits, and end the workers by SIGKILL."""
        self._core.signal("kill")

    async def shutdown(self, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; wait until what was given is done and the workers are gone.

        A task that is cancelled meanwhile kills the workers.
        """
        core = self._core
        core.close()
        if cancel_futures:
            core.cancel_all(running=False)
        try:
            await self._reactor.until(core.is_over)
        except BaseException:
            core.signal("kill")
            await self._kind.shielded(lambda: self._reactor.until(core.is_over))
            raise

    async def __aenter__(self) -> Pool:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            await self.shutdown()
            return
        self._core.close()
        self._core.cancel_all(running=True)
        await self._kind.shielded(self.shutdown)

    async def _give(self, job: Any, fn: Any, args: Any, kwargs: Any) -> None:
        core, most = self._core, self._max_queue
        core.check_open()
        if most is not None and core.waits() >= most:
            await self._reactor.until(lambda: core.waits() < most or bool(core.closed))
        core.pack(job, fn, args, kwargs)
        core.give(job)
        self._reactor._set_timer()


class PoolOptions(BaseOptions):
    """Jobs of one pool with options: `Pool.options` makes it."""

    async def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `Pool.call`."""
        pool = self._pool
        job = self._set(AwaitedJob(pool._core))
        await pool._give(job, fn, args, kwargs)
        return await self._outcome(job)

    async def _outcome(self, job: Any) -> Any:
        kind = self._pool._kind
        try:
            await _wait(job, kind, lambda: job.over)
        except kind.Cancelled:
            await self._cancel([job])
            raise
        return job.result()

    async def _cancel(self, jobs: Iterable[Any]) -> None:
        """Cancel jobs, and wait until no worker has them."""
        jobs = list(jobs)
        for job in jobs:
            job.cancel()
        reactor = self._pool._reactor
        reactor._set_timer()
        left = [job for job in jobs if job.worker is not None and job.worker.has(job)]
        if left:
            await self._pool._kind.shielded(
                lambda: reactor.until(lambda: not any(job.worker.has(job) for job in left))
            )

    async def map(
        self, fn: Any, items: Any, *, buffersize: int | None = None, ordered: bool = True
    ) -> AsyncIterator[Any]:
        """As `Pool.map`."""
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize is a number of jobs, at least 1, or None")
        pool, core = self._pool, self._pool._core
        most = buffersize or 2 * core.max_workers * core.load
        jobs: deque[Any] = deque()
        source = _source(items)
        try:
            more = True
            while more or jobs:
                while more and len(jobs) < most:
                    found = await source(most - len(jobs))
                    more = bool(found)
                    for item in found:
                        job = self._set(AwaitedJob(core))
                        await pool._give(job, fn, (item,), {})
                        jobs.append(job)
                if not jobs:
                    return
                if ordered:
                    job = jobs[0]
                    await _wait(job, pool._kind, lambda: jobs[0].over)
                else:
                    await pool._reactor.until(lambda: any(job.over for job in jobs))
                    job = next(job for job in jobs if job.over)
                jobs.remove(job)
                yield job.result()
        finally:
            await self._cancel(jobs)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> PoolStream:
        """As `Pool.stream`."""
        return PoolStream(self, fn, args, kwargs, window)


def _source(items: Any) -> Any:
    """How the next few items are taken, of an iterable or an async one."""
    if hasattr(items, "__aiter__"):
        iterator = items.__aiter__()

        async def take(number: int) -> list[Any]:  # noqa: ARG001 - as the other one
            try:
                return [await iterator.__anext__()]
            except StopAsyncIteration:
                return []
    else:
        plain = iter(items)

        async def take(number: int) -> list[Any]:
            return list(islice(plain, number))

    return take


class PoolStream(BaseStream):
    """What a generator in a worker yields. `Pool.stream` makes it."""

    def __init__(self, options: PoolOptions, fn: Any, args: Any, kwargs: Any, window: int) -> None:
        pool = options._pool
        job = options._set(AwaitedItems(pool._core))
        super().__init__(pool._core, job, window)
        self._pool = pool
        self._over = True
        pool._core.check_open()
        pool._core.pack(job, fn, args, kwargs)
        pool._core.give(job)
        self._over = False

    def __aiter__(self) -> PoolStream:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        if not self._is_ready():
            await _wait(self._job, self._pool._kind, self._is_ready)
        return self._take(StopAsyncIteration)

    async def aclose(self) -> None:
        """End the generator over there (GeneratorExit is raised in it). No more items come."""
        self._end()

    async def __aenter__(self) -> PoolStream:  # noqa: PYI034
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


for _public in (Pool, PoolOptions, PoolStream):
    _public.__module__ = "earlyfork.aio"  # where users import them from
