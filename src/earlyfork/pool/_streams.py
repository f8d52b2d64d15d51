"""The client's half of a stream from a pool's worker."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from earlyfork.pool._job import Job
from earlyfork.rpc import _wire as wire

if TYPE_CHECKING:
    from earlyfork.rpc._wire import Frame


class Items(Job):
    """A job that is a stream, and what has come of it."""

    is_stream = True
    kind: int = wire.STREAM

    def __init__(self, core: Any) -> None:
        super().__init__(core)
        self.items: deque[Frame] = deque()


class BaseStream:
    """What a generator in a worker yields, however its items are waited for."""

    def __init__(self, core: Any, job: Items, window: int) -> None:
        if window < 1:
            raise ValueError("window is a number of items, at least 1")
        job.window = window
        self._core = core
        self._job = job
        self._taken = 0
        self._over = False

    def _is_ready(self) -> bool:
        return bool(self._job.items) or self._job.over

    def _take(self, stop: type[Exception]) -> Any:
        """The next item, which has come if there is one; at the end raises `stop`."""
        job = self._job
        if not job.items:
            self._over = True
            job.outcome()
            raise stop
        frame = job.items.popleft()
        self._taken += 1
        if self._taken * 2 >= job.window and not job.over:
            with self._core.reactor.lock:
                worker = job.worker
                if worker is not None and worker.has(job):
                    worker._tell(wire.CREDIT, job.ident, self._taken)
            self._taken = 0
        return job.worker._session.load(frame)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._job.cancel()
        self._job.items.clear()

    def __del__(self) -> None:
        if not self.__dict__.get("_over", True) and not self._job.over:
            self._core.reactor.drop(self._job.cancel)


class Stream(BaseStream):
    """What a generator in a worker yields, one item after the other. `Pool.stream` makes it."""

    def __init__(self, options: Any, fn: Any, args: Any, kwargs: Any, window: int) -> None:
        core = options._pool._core
        job = options._set(Items(core))
        super().__init__(core, job, window)
        self._over = True
        options._pool._submit(job, fn, args, kwargs)
        self._over = False

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        if not self._is_ready():
            self._core.reactor.wait_for(self._is_ready, job=self._job)
        return self._take(StopIteration)

    def close(self) -> None:
        """End the generator over there (GeneratorExit is raised in it). No more items come."""
        self._end()

    def __enter__(self) -> Stream:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
