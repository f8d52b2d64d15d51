"""What is watched for all pools of a driver, and what is to be done at some time.

It never waits. `_threads` drives it with the threads of a program, `earlyfork.aio` with a loop.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import weakref
from collections import deque
from concurrent import futures
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from earlyfork.pool._job import Job
    from earlyfork.pool._worker import Worker


class Reactor:
    """What is watched, and when something is to be done. Used under its lock."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sources: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, int, Callable[[], None], Any]] = []
        self._numbers = itertools.count()
        #: Workers of whose calls some have a time.
        self.timed: set[Worker] = set()
        #: What users want to be called, with its arguments.
        self.callbacks: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.cores: weakref.WeakSet[Any] = weakref.WeakSet()
        #: Jobs of whose end somebody wants to be told.
        self.wanted: set[Job] = set()
        #: Pools that were dropped, and jobs: what is to be done is done by the next one here.
        self.dropped: deque[Callable[[], object]] = deque()
        #: Somebody was interrupted in the middle of something. Whoever changes something under the
        #: lock says so by this one assignment, when an exception comes.
        self.suspect = False

    # -- what a driver does --------------------------------------------------------------------

    def watch(self, fd: int, function: Callable[[int], None]) -> None:
        """Call a function with what poll says of an fd, when it is readable."""
        raise NotImplementedError

    def also_write(self, fd: int, *, wants: bool) -> None:
        """The same when there is room to write, or no longer."""
        raise NotImplementedError

    def unwatch(self, fd: int) -> None:
        """Look at this fd no more; its owner is about to close it."""
        raise NotImplementedError

    def wake(self) -> None:
        """Whoever waits must look anew: until when, and whether it should."""
        raise NotImplementedError

    def want(self, job: Job) -> None:
        """Somebody is to be told of the end of this job, and does not wait here for it."""
        raise NotImplementedError

    def call_later(self, calls: Iterable[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        """Call what a user wants to be called, without the lock."""
        self.callbacks.extend(calls)

    def cork(self, worker: Worker) -> None:
        """This worker is busy: what was put for it may go out in one write with what comes next."""
        worker.flush()

    # -- what is the same for all --------------------------------------------------------------

    def drop(self, function: Callable[[], object]) -> None:
        """Call this function soon: the collector, which may call this anywhere, must not do it."""
        self.dropped.append(function)
        self.wake()

    def at(self, when: float, function: Callable[[], None], core: Any) -> None:
        """Call a function at a time of `time.monotonic`, as long as this pool is there."""
        heapq.heappush(self.timers, (when, next(self._numbers), function, core))
        self.wake()

    def forget(self, core: Any) -> None:
        """This pool is over."""
        self.cores.discard(core)
        self.timers = [timer for timer in self.timers if timer[3] is not core]
        heapq.heapify(self.timers)
        self.wake()

    def next_time(self) -> float | None:
        """When something is to be done."""
        times = [self.timers[0][0]] if self.timers else []
        for worker in self.timed:
            earliest = worker.next_time()
            if earliest is not None:
                times.append(earliest)
        return min(times, default=None)

    def handle(self, events: Iterable[tuple[int, int]] = ()) -> None:
        """Deal with what poll has said, and with what is due."""
        with self.lock:
            try:
                if self.suspect:
                    self.suspect = False
                    for core in list(self.cores):
                        core.mend()
                for fd, mask in events:
                    function = self.sources.get(fd)
                    if function is not None:
                        function(mask)
                if self.timers or self.timed:
                    self._see_to_times()
                while self.dropped:
                    self.dropped.popleft()()
            except BaseException:
                self.suspect = True
                raise

    def _see_to_times(self) -> None:
        now = monotonic()
        while self.timers and self.timers[0][0] <= now:
            heapq.heappop(self.timers)[2]()
        for worker in list(self.timed):
            worker._see_to_times()
            if not worker._session.timed:
                self.timed.discard(worker)

    def call_back(self) -> None:
        """Call what users want to be called. Their errors are told, and stop nothing."""
        while self.callbacks:
            try:
                function, arguments = self.callbacks.popleft()
            except IndexError:
                return
            try:
                function(*arguments)
            except Exception:
                futures._base.LOGGER.exception("exception calling callback %r", function)
