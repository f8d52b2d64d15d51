"""`Pool`: the public face."""

from __future__ import annotations

import sys
import weakref
from concurrent import futures
from typing import TYPE_CHECKING, Any

from earlyfork.pool._core import Core
from earlyfork.pool._job import Job
from earlyfork.pool._options import Options, checked
from earlyfork.pool._threads import reactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from earlyfork import Process
    from earlyfork.pool._map import Results
    from earlyfork.pool._staff import Death, Stats
    from earlyfork.pool._streams import Stream


class Pool(futures.Executor):
    """Workers that do jobs. A job that kills its worker fails alone; the worker is replaced.

    A `concurrent.futures.Executor`. It makes workers when there are jobs for them. All of them are
    clones of one template, and so share the memory of what was imported there.

    Args:
        template: a prepared process (or snapshot) that the workers are clones of. Default: a new
            process.
        max_workers: how many workers there are at most. Default: the CPUs of this process, by its
            affinity and the quota of its cgroup.
        min_idle: how many workers that have nothing to do are kept in reserve.
        load: how many jobs a worker has at most. The first `concurrency` of them run, the others
            wait there, so that it has its next job at once. Default: `concurrency`.
        start_delay: seconds for which jobs wait for a worker before one more is made.
        idle_timeout: seconds without a job after which a worker ends; None: it stays.
        max_tasks: after so many jobs a worker is replaced.
        max_memory: bytes of resident memory; a worker that has more after a job is replaced.
        timeout: seconds that a job may take, from its start.
        init: a function that each worker runs first, with what was sent to the template by
            `send_arg` and `send_fh`.
        exit: a function that each worker runs at its orderly end.
        concurrency: how many jobs a worker runs at once: coroutines as tasks, others in threads.
        max_queue: how many jobs may wait. Who gives one more waits, too.
        retries: how often a job is done again whose worker died while it ran.
        on_event: called with the arguments of each `earlyfork.rpc.event` of a worker.
        on_death: called with a `Death` for each worker that dies.
        stderr: None: the workers have the stderr that the template has. "keep": what they write
            there is passed on to this program's by a process that is made for that, and the last
            4 KB of it are in `WorkerDied.stderr`.
        visible: let `python -m earlyfork top` see which job each worker runs, and since when. Costs
            1 microsecond for each job.

    `on_event` and `on_death` are called in the thread "earlyfork-pool".

    Raises:
        ValueError: a number that means nothing.
        TypeError, ValueError: `init` or `exit` can't be found in a worker.

    Modelled on AnyEvent::Fork::Pool.
    """

    def __init__(  # noqa: PLR0913 - as many as AnyEvent::Fork::Pool's, and more
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
        self._max_queue = max_queue
        self._core = Core(reactor(), template, settings)
        self._default = Options(self, timeout, 0, retries)
        self._default._pool = weakref.proxy(self)  # no circle: `del` ends the pool at once
        self._plain = timeout is None and not retries

    def __repr__(self) -> str:
        found = self.stats()
        return f"<Pool, {found.workers} workers, {found.running} running, {found.waiting} waiting>"

    @property
    def _max_workers(self) -> int:
        """What Dask asks executors for."""
        return self._core.max_workers

    # -- jobs ----------------------------------------------------------------------------------

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Job:
        """Have a worker call a function, and go on. Waits only if `max_queue` jobs wait already.

        Args:
            fn: a function of a module, or its name (`pkg.mod.func`, `pkg.mod:obj.attr`).
            *args: what it is called with. Files and sockets in them are passed on.
            **kwargs: the same.

        Returns:
            A `concurrent.futures.Future`. Its `cancel` works on a job that runs.

        Raises:
            RuntimeError: the pool is shut down.
            PoolBroken: no worker can begin.
            TypeError, ValueError: the function can't be found, or an argument not be pickled.
        """
        if self._plain:
            return self._submit(Job(self._core), fn, args, kwargs)
        return self._submit(self._default._new(), fn, args, kwargs)

    def _submit(self, job: Job, fn: Any, args: Any, kwargs: Any) -> Job:
        core = self._core
        core.check_open()
        if self._max_queue is not None:
            self._wait_for_room()
        core.pack(job, fn, args, kwargs)
        core.give(job)
        return job

    def _wait_for_room(self) -> None:
        core, most = self._core, self._max_queue
        assert most is not None
        core.reactor.wait_for(lambda: core.waits() < most or bool(core.closed))

    def map(
        self,
        fn: Any,
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        ordered: bool = True,
    ) -> Results:
        """Call a function with each item, or with one of each of several iterables.

        The first jobs begin now, further ones as results are taken, so the iterables may be
        infinite. What has not ended when the results are dropped is cancelled.

        Args:
            fn: a function of a module, or its name.
            *iterables: what it is called with.
            timeout: seconds from now on, after which TimeoutError is raised for what is missing.
            chunksize: how many items make up one job. An error or a death then costs the job's
                items from there on, or all of them.
            buffersize: how many jobs may be ahead of what was taken. Default: twice as many as
                the workers can have.
            ordered: False: results come as they are ready.

        Returns:
            An iterator over the results.

        Raises:
            ValueError: a number that means nothing.
            RuntimeError: the pool is shut down.
        """
        return self._default_options().map(
            fn,
            *iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
            ordered=ordered,
        )

    def _default_options(self) -> Options:
        default = self._default
        return Options(self, default._timeout, 0, default._retries)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> Stream:
        """Iterate over what a generator yields in a worker, which is at most `window` items ahead.

        Args:
            fn: a function that returns a generator, an async generator, or any iterable.
            *args: what it is called with.
            window: how many items it may be ahead.
            **kwargs: what it is called with.

        Returns:
            An iterator. `close()` ends the generator there; so does dropping the iterator.
        """
        return self._default_options().stream(fn, *args, window=window, **kwargs)

    def options(
        self, *, timeout: float | None = None, priority: int = 0, retries: int | None = None
    ) -> Options:
        """`submit`, `map` and `stream` with options, which so never meet a function's keywords.

        Args:
            timeout: seconds that a job may take, from its start. Then it is ended as by `cancel`,
                and CallTimeout raised. Default: the pool's.
            priority: of the jobs that wait the one with the largest comes first; among equals, the
                one that was given first.
            retries: how often it is done again if its worker dies. Default: the pool's.
        """
        default = self._default
        return Options(
            self,
            default._timeout if timeout is None else timeout,
            priority,
            default._retries if retries is None else retries,
        )

    def broadcast(self, fn: Any, /, *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function once in each worker that there is now, and wait for the results.

        Raises:
            BaseException: what the first of them raised that did.
        """
        core = self._core
        core.check_open()
        packed = Job(core)
        core.pack(packed, fn, args, kwargs)
        jobs = core.give_all(packed, lambda: Job(core))
        return [job.result() for job in jobs]

    # -- workers -------------------------------------------------------------------------------

    def warm(self, number: int | None = None) -> None:
        """Have so many workers ready, and wait for them.

        Args:
            number: Default: `max_workers`.

        Raises:
            PoolBroken: they can't begin.
        """
        core = self._core
        core.check_open()
        wanted = core.max_workers if number is None else min(number, core.max_workers)
        with core.reactor.lock:
            try:
                core.warmed = wanted
                core.grow()
            except BaseException:
                core.reactor.suspect = True
                raise
        core.reactor.wait_for(lambda: bool(core.closed) or core.size - core.starting >= wanted)
        if core.why_not is not None:
            raise core.breakage()

    def resize(self, number: int) -> None:
        """Have at most so many workers. Those that are too many end when they have done their jobs.

        Raises:
            ValueError: it is below 1.
        """
        if number < 1:
            raise ValueError(f"max_workers is at least 1, not {number!r}")
        self._core.resize(number)

    def stats(self) -> Stats:
        """What the pool is doing."""
        return self._core.stats()

    # -- the end -------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - an Executor's
        """Take no more jobs; what was given is done, then the workers end.

        Args:
            wait: until all that has happened. A second Ctrl-C kills the workers.
            cancel_futures: cancel the jobs that wait.
        """
        core = self._core
        core.close()
        if cancel_futures:
            core.cancel_all(running=False)
        if wait and not core.foreign:
            try:
                core.reactor.wait_for(core.is_over)
                core.reactor.wait_for_the_thread()
            except BaseException:
                core.signal("kill")
                raise

    def terminate(self) -> None:
        """Cancel what waits, and end the workers by SIGTERM: what they run ends with WorkerDied."""
        self._core.signal("terminate")

    def kill(self) -> None:
        """Cancel what waits, and end the workers by SIGKILL."""
        self._core.signal("kill")

    def __enter__(self) -> Pool:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # nobody will ask for what still runs
            self._core.close()
            self._core.cancel_all(running=True)
        self.shutdown()

    def __del__(self) -> None:
        core = self.__dict__.get("_core")
        if core is not None and not core.closed and not sys.is_finalizing():
            core.reactor.drop(core.close)


Pool.__module__ = "earlyfork.pool"  # where users import it from
