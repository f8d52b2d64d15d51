"""What a pool is told, and what it tells of itself."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any

from earlyfork import Process
from earlyfork.pool import _limits
from earlyfork.pool._job import Job
from earlyfork.pool._map import Results
from earlyfork.pool._staff import Settings
from earlyfork.pool._streams import Stream
from earlyfork.rpc._options import check_options
from earlyfork.rpc._stderr import CHOICES

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The settings that are numbers.
NUMBERS = (
    *("max_workers", "load", "concurrency", "min_idle", "start_delay", "idle_timeout"),
    *("max_tasks", "max_memory", "max_queue"),
)


class BaseOptions:
    """What each job of a pool is given beyond its function, however it is waited for."""

    def __init__(self, pool: Any, timeout: float | None, priority: int, retries: int) -> None:
        check_options(timeout, "soft", 1.0)
        if retries < 0:
            raise ValueError(f"retries is a number, not {retries!r}")
        self._pool = pool
        self._timeout = timeout
        self._priority = priority
        self._retries = retries

    def _set(self, job: Any) -> Any:
        """The job with these options."""
        if self._timeout is not None:
            job.limit = self._timeout
        job.priority = self._priority
        job.retries = self._retries
        return job


class Options(BaseOptions):
    """Jobs of one pool with options: `Pool.options` makes it."""

    def _new(self) -> Job:
        job: Job = self._set(Job(self._pool._core))
        return job

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Job:
        """As `Pool.submit`."""
        job = self._new()
        self._pool._submit(job, fn, args, kwargs)
        return job

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
        """As `Pool.map`; these options are those of each job, and not of the whole."""
        return Results(self, fn, iterables, timeout, chunksize, buffersize, ordered=ordered)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> Stream:
        """As `Pool.stream`."""
        return Stream(self, fn, args, kwargs, window)


def checked(
    template: Any,
    *,
    max_workers: int | None,
    load: int | None,
    concurrency: int,
    max_queue: int | None,
    **others: Any,
) -> Settings:
    """The settings of a pool, with what was left to it.

    Raises:
        TypeError, ValueError: something that means nothing.
    """
    if template is not None and not isinstance(template, Process):
        raise TypeError(
            "the first thing a pool is given is a Process to fork its workers from, not "
            f"{template!r}; how many there are is max_workers="
        )
    if max_workers is None:
        max_workers = _limits.available_cpus()
    if load is None:
        load = concurrency
    found = Settings(max_workers=max_workers, load=load, concurrency=concurrency, **others)
    numbers = {**found._asdict(), "max_queue": max_queue}
    for name in NUMBERS:
        if not isinstance(numbers[name], int | float | NoneType):
            raise TypeError(f"{name} is a number, not {numbers[name]!r}")
    for name in ("on_event", "on_death"):
        if numbers[name] is not None and not callable(numbers[name]):
            raise TypeError(f"{name} is a function, not {numbers[name]!r}")
    for name in ("max_workers", "load", "concurrency"):
        if numbers[name] < 1:
            raise ValueError(f"{name} must be greater than 0: {numbers[name]!r} is not")
    for name in ("max_tasks", "max_memory", "max_queue"):
        if numbers[name] is not None and numbers[name] < 1:
            raise ValueError(f"{name} is at least 1, or None, not {numbers[name]!r}")
    if not 0 <= found.min_idle <= max_workers:
        raise ValueError(f"min_idle is a number from 0 to max_workers, not {found.min_idle!r}")
    if found.stderr not in CHOICES:
        raise ValueError(f'stderr is None (as it is) or "keep", not {found.stderr!r}')
    if load < concurrency:
        raise ValueError("load is at least concurrency: it counts the jobs that run as well")
    if not found.start_delay >= 0:
        raise ValueError(f"start_delay is a number of seconds, not {found.start_delay!r}")
    if found.idle_timeout is not None and not found.idle_timeout >= 0:
        raise ValueError(f"idle_timeout is seconds, or None, not {found.idle_timeout!r}")
    return found
