"""What `Pool.map` gives."""

from __future__ import annotations

from collections import deque
from concurrent import futures
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.rpc._values import unpack_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from earlyfork.pool._job import Job


_CALL_EACH = "earlyfork.pool._there:call_each"


class Results:
    """An iterator over the results of `Pool.map`. `close()`, or its end, cancels what is left."""

    def __init__(
        self,
        options: Any,
        fn: Any,
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        *,
        ordered: bool,
    ) -> None:
        self._jobs: deque[Job] = deque()
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        core = options._pool._core
        core.check_open()
        self._options = options
        self._core = core
        self._fn = fn
        self._arguments: Iterator[Any] | None = zip(*iterables, strict=False)
        self._deadline = None if timeout is None else monotonic() + timeout
        self._chunksize = chunksize
        self._buffersize = buffersize
        self._ordered = ordered
        #: Results of a chunk that were not taken yet, and the error that comes after them.
        self._ready: deque[Any] = deque()
        self._error: BaseException | None = None
        self._fill()

    def _fill(self) -> None:
        """Give jobs until enough are under way."""
        core = self._core
        while self._arguments is not None:
            most = self._buffersize or 2 * core.max_workers * core.load
            if len(self._jobs) >= most:
                return
            options = self._options
            if self._chunksize == 1:
                arguments = next(self._arguments, None)
                if arguments is None:
                    self._arguments = None
                    return
                job = options._pool._submit(options._new(), self._fn, arguments, {})
            else:
                chunk = list(islice(self._arguments, self._chunksize))
                if not chunk:
                    self._arguments = None
                    return
                portable = core.portable(self._fn)
                job = options._pool._submit(options._new(), _CALL_EACH, (portable, chunk), {})
                job.function = self._fn
            self._jobs.append(job)

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                self.close()
                try:
                    raise error
                finally:
                    del error
            if not self._jobs:
                raise StopIteration
            self._take()
        return self._ready.popleft()

    def _take(self) -> None:
        """Wait for the next job, and give further ones."""
        job = self._next()
        # More are given before its result is made: the workers have something to do meanwhile.
        try:
            self._fill()
            result = job.result()
        except BaseException:
            self.close()
            raise
        if self._chunksize == 1:
            self._ready.append(result)
            return
        results, error = result
        self._error = None if error is None else unpack_error(error)
        self._ready.extend(results)

    def _next(self) -> Job:
        jobs = self._jobs
        reactor = self._core.reactor
        try:
            if self._ordered:
                job = jobs[0]
                if not job.over and not reactor.wait_for_job(job, self._deadline):
                    raise futures.TimeoutError(f"{job.name or 'the job'} has not ended in time")
                jobs.popleft()
                return job
            if not reactor.wait_for(lambda: any(j.over for j in jobs), self._deadline):
                raise futures.TimeoutError("no job has ended in time")
        except BaseException:
            self.close()
            raise
        job = next(job for job in jobs if job.over)
        jobs.remove(job)
        return job

    def close(self) -> None:
        """Take no more results; what has not ended is cancelled."""
        self._arguments = None
        jobs, self._jobs = self._jobs, deque()
        for job in jobs:
            job.cancel()
        self._ready.clear()

    def __del__(self) -> None:
        if self._jobs:
            jobs = list(self._jobs)
            self._core.reactor.drop(lambda: [job.cancel() for job in jobs])
