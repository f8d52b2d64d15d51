"""What a pool is, without its public face: jobs that wait, workers, and who does what when.

All of it is used under the reactor's lock, and nothing here waits or runs what belongs to users.

*The truth* is: `open`, the jobs that have not ended; and each worker's `_session.calls`, the jobs
that it has. What waits, who is idle and how many there are follows from that. So after an
interruption (Ctrl-C between any two steps of Python) `mend` makes these anew.

It is longer than others, since all decisions are here.
"""

from __future__ import annotations

import heapq
import os
from typing import TYPE_CHECKING, Any

from earlyfork import ProcessStateError
from earlyfork.pool._staff import Settings, Staff, Stats, portable
from earlyfork.rpc import _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._line import open_gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork import Process
    from earlyfork.pool._job import Job
    from earlyfork.pool._reactor import Reactor
    from earlyfork.pool._worker import Worker
    from earlyfork.rpc._wire import Frame


class Core(Staff):
    """One pool."""

    def __init__(self, reactor: Reactor, template: Process | None, settings: Settings) -> None:
        if template is not None and template.is_far and settings.max_memory is not None:
            raise ValueError(
                "max_memory can't be kept on another machine, whose processes are not seen from "
                "here; end a worker there by max_tasks, or by retire()"
            )
        super().__init__(reactor, template, settings)
        self.namer = _session.Session(has_main=self.has_main, has_target=False, concurrency=1)
        if template is not None:
            self.namer.suit(template)
        self.definitions: list[bytes] = []
        #: The jobs that wait, by priority and number; some of these may have been cancelled.
        self.heap: list[tuple[int, int, Job]] = []
        self.cancelled_entries = 0
        self.open: set[Job] = set()
        self.number = 0
        self.done = self.cancelled = 0
        if self.min_idle:
            with reactor.lock:
                self.grow()

    # -- jobs ----------------------------------------------------------------------------------

    def check_foreign(self) -> None:
        """Say so where this is a fork of the pool's process."""
        if self.foreign:
            raise ProcessStateError(
                f"this pool belongs to process {self.foreign}, of which this one is a fork; "
                "make another one here"
            )

    def check_open(self) -> None:
        """Whether jobs can be given.

        Raises:
            PoolBroken: no worker can begin.
            RuntimeError: the pool is shut down.
        """
        self.check_foreign()
        if self.why_not is not None:
            raise self.breakage()
        if self.closed:
            raise RuntimeError(f"no job can be given: {self.closed}")

    def pack(self, job: Job, fn: Any, args: Any, kwargs: Any) -> None:
        """Make of a job what will be sent.

        Raises:
            Exception: whatever the pickling of an argument raises; or the function can't be found.
        """
        namer = self.namer
        try:
            known = fn in namer.refs
        except TypeError:  # what can't be hashed
            known = False
        if not known:
            with self.reactor.lock:
                namer.refer(fn)
                if namer.news:
                    self.definitions.append(namer.news)
                    namer.news = b""
        ref, body, buffers, fds = namer.pack(fn, args, kwargs)
        job.function = fn
        job.ref, job.body = ref, body
        if buffers:
            # As they are now: the job may wait, and its caller may change them.
            job.buffers = [memoryview(bytes(view)) for view in buffers]
        if fds:
            job.fds = wire.Fds(fds)

    def duplicates(self, job: Job) -> list[int]:
        """The fds of a job for one more write; the job keeps its own until it ends."""
        return [os.dup(fd) for fd in job.fds.numbers] if job.fds else []

    def give(self, job: Job) -> None:
        """Take in a packed job."""
        self.check_open()
        with self.reactor.lock:
            try:
                self.check_open()
                self.number = job.number = self.number + 1
                self.open.add(job)
                idle = self.idle
                if idle and not self.heap:
                    worker = idle.pop()
                    worker.resting = False
                    self.put(worker, job)
                    worker.flush()
                    if self.min_idle and len(idle) < self.min_idle:
                        self.grow()
                    return
                heapq.heappush(self.heap, (-job.priority, job.number, job))
                self.dispatch()
            except BaseException:
                self.reactor.suspect = True
                raise

    def give_all(self, packed: Job, new: Callable[[], Job]) -> list[Job]:
        """Give a job to each worker that there is."""
        found = []
        with self.reactor.lock:
            try:
                self.check_open()
                for worker in [w for w in self.workers if not (w.leaving or w.going)]:
                    job = new()
                    job.function, job.ref, job.body = packed.function, packed.ref, packed.body
                    job.buffers = packed.buffers
                    job.fds = wire.Fds(self.duplicates(packed)) if packed.fds else ()
                    job.only = worker
                    self.number = job.number = self.number + 1
                    self.open.add(job)
                    if worker.resting:
                        worker.resting = False
                        self.idle.remove(worker)
                    self.put(worker, job)
                    worker.flush()
                    found.append(job)
            except BaseException:
                self.reactor.suspect = True
                raise
        return found

    def portable(self, function: Any) -> Any:
        """A function as it travels in an argument."""
        return portable(function, has_main=self.namer.has_main)

    def put(self, worker: Worker, job: Job) -> None:
        """Give a job to a worker, which is to be flushed."""
        worker.put(job)
        if self.max_tasks is not None and worker.given >= self.max_tasks:
            worker.leave()

    def next_job(self) -> Job | None:
        """The first job that waits, taken out of those that do."""
        while self.heap:
            job = heapq.heappop(self.heap)[2]
            if not job.over:
                return job
            self.cancelled_entries -= 1
        return None

    def waits(self) -> int:
        """How many jobs wait."""
        return len(self.heap) - self.cancelled_entries

    def cancel(self, job: Job) -> bool:
        """End a job that has not ended; False if it has."""
        self.check_foreign()
        with self.reactor.lock:
            try:
                if job.over:
                    return job.cancelled()
                worker = job.worker
                if worker is not None and worker.fresh:
                    worker.flush()
                job.reason = "cancel"
                if worker is not None and worker.has(job):
                    self.finish(job, "CANCELLED_AND_NOTIFIED")
                    worker._end_call(job)
                    if worker._session.timed:
                        self.reactor.timed.add(worker)
                        self.reactor.wake()
                else:
                    self.cancelled_entries += 1
                    self.finish(job, "CANCELLED_AND_NOTIFIED")
                    if self.cancelled_entries > 64 and self.cancelled_entries * 2 > len(self.heap):
                        self._sift()
                    self.settle()
                return True
            except BaseException:
                self.reactor.suspect = True
                raise

    def _sift(self) -> None:
        self.heap = [entry for entry in self.heap if not entry[2].over]
        heapq.heapify(self.heap)
        self.cancelled_entries = 0

    def finish(self, job: Job, state: str) -> None:
        """A job has ended; what it was made of is let go of."""
        job.body = b""
        job.buffers = ()
        fds, job.fds = job.fds, ()
        if fds:
            fds.close()
        job.end(state)
        self.open.discard(job)
        if state == "FINISHED":
            self.done += 1
        else:
            self.cancelled += 1
        wanted = self.reactor.wanted
        if wanted:
            wanted.discard(job)

    def stats(self) -> Stats:
        """What the pool is doing."""
        with self.reactor.lock:
            waiting = self.waits()
            return Stats(
                workers=len(self.workers),
                idle=len(self.idle),
                starting=self.starting,
                waiting=waiting,
                running=len(self.open) - waiting,
                done=self.done,
                cancelled=self.cancelled,
                deaths=self.deaths,
            )

    # -- who does it ---------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Give jobs that wait to workers that may have more; make workers if there are too few."""
        touched: list[Worker] = []
        while self.heap:
            worker = self._free()
            if worker is None:
                break
            job = self.next_job()
            if job is None:
                if not worker.count():
                    worker.resting = True
                    self.idle.append(worker)
                break
            self.put(worker, job)
            touched.append(worker)
        for worker in touched:
            if len(worker._session.calls) < self.concurrency or len(worker.fresh) * 2 > self.load:
                worker.flush()
            else:
                self.reactor.cork(worker)
        if self.heap or self.min_idle:
            self.grow()

    def _free(self) -> Worker | None:
        """The worker that gets the next job."""
        if self.idle:
            worker = self.idle.pop()
            worker.resting = False
            return worker
        if self.load == 1:
            return None
        # As many as run at once come first, then new workers, then jobs that wait over there.
        full = self.size >= self.max_workers
        most = self.load if full else self.concurrency
        found, least = None, most
        for worker in self.workers:
            count = worker.count()
            if worker.up and not worker.leaving and not worker.going and count < least:
                found, least = worker, count
        return found

    def heard(self, worker: Worker) -> None:
        """A worker has said something: maybe it can have more."""
        if worker.going or worker not in self.workers:
            return
        calls = worker._session.calls
        if worker._session.retired or worker.leaving:
            worker.leaving = True
            if not calls:
                self.uncount(worker)
                self.dispatch()
                self.settle()
            return
        if not worker.up:
            return
        if self.max_memory is not None and self._is_large(worker):
            worker.leave()
            if not calls:
                self.uncount(worker)
                self.dispatch()
            self.settle()
            return
        if self.heap and not worker.resting:
            most = (
                self.load if self.size >= self.max_workers and not self.idle else self.concurrency
            )
            while worker.count() < most and not worker.leaving:
                job = self.next_job()
                if job is None:
                    break
                self.put(worker, job)
            if self.heap:
                self.grow()
        if worker.fresh or worker._outbox.queue:
            worker.flush()
        if not calls and not worker.resting and not worker.leaving:
            self.rest(worker)

    # -- what has arrived ----------------------------------------------------------------------

    def arrived(self, job: Job) -> None:
        """A job has brought an item or has ended; what was not begun goes to another worker."""
        frame = job.message
        if frame is None:  # an item
            for gate in job.gates:
                open_gate(gate)
            return
        if job not in self.open:  # it was cancelled
            return
        if frame[0] == wire.DIED and not job.reason and self._goes_on(job):
            job.message = None
            job.begun = None
            job.deadline = job.kill_at = None
            heapq.heappush(self.heap, (-job.priority, job.number, job))
            return
        self.finish(job, "FINISHED")

    def _goes_on(self, job: Job) -> bool:
        """Whether a job whose worker is gone goes to another one."""
        worker = job.worker
        assert worker is not None
        if self.killed or job.only is not None:
            return False
        if job.ident in worker.not_begun or worker._session.death(job.ident).begun is False:
            return True
        if job.retries > 0 and not (job.is_stream and job.items):
            job.retries -= 1
            return True
        return False

    def event(self, session: _session.Session, frame: Frame) -> None:
        """A worker tells the user something."""
        if self.on_event is not None:
            self.reactor.call_later([(_tell_event, (self.on_event, session, frame))])

    # -- the end of it all ---------------------------------------------------------------------

    def settle(self) -> None:
        """When nothing is to be done any more, have the workers leave, then let go of all."""
        if not self.closed:
            return
        if not self.waits():
            for worker in list(self.idle):
                worker.leave()
                self.uncount(worker)
            for worker in list(self.workers):
                if not worker.leaving and not worker.going and (worker.up or not self.open):
                    worker.leave()
        if self.is_over():
            own, self.own = self.own, None
            if own is not None:
                own.close()
            self.reactor.forget(self)

    def is_over(self) -> bool:
        """Whether all has ended that there was."""
        return bool(self.closed) and not self.workers and not self.waits()

    def close(self, why: str = "the pool is shut down") -> None:
        """Take no more jobs; those that were given are done."""
        if self.foreign:
            return
        with self.reactor.lock:
            try:
                self.closed = self.closed or why
                self.settle()
            except BaseException:
                self.reactor.suspect = True
                raise

    def cancel_all(self, *, running: bool) -> None:
        """Cancel the jobs that wait, or all."""
        if self.foreign:
            return
        with self.reactor.lock:
            try:
                for job in list(self.open):
                    worker = job.worker
                    if running or worker is None or not worker.has(job):
                        self.cancel(job)
                self.settle()
            except BaseException:
                self.reactor.suspect = True
                raise

    def signal(self, name: str) -> None:
        """End the workers by a signal, and take no more jobs."""
        if self.foreign:
            return
        with self.reactor.lock:
            try:
                self.closed = self.closed or "it was ended"
                self.killed = True
                self.cancel_all(running=False)
                for worker in list(self.workers):
                    worker.leaving = True
                    getattr(worker._process, name)()
                self.settle()
            except BaseException:
                self.reactor.suspect = True
                raise

    def resize(self, number: int) -> None:
        """Have so many workers at most; those too many leave when they have nothing to do."""
        self.check_open()
        with self.reactor.lock:
            try:
                self.max_workers = number
                self.warmed = min(self.warmed, number)
                while self.size > number and self.idle:
                    worker = self.idle[0]
                    worker.leave()
                    self.uncount(worker)
                self.dispatch()
            except BaseException:
                self.reactor.suspect = True
                raise

    def disown(self, parent: int) -> None:
        """In a child of the host: all of it is its parent's."""
        self.foreign = parent
        for worker in self.workers:
            worker.disown(parent)

    # -- after an interruption -----------------------------------------------------------------

    def mend(self) -> None:
        """Make anew what follows from the truth."""
        for worker in self.workers:
            worker.mend()
        for job in list(self.open):
            if job.over:
                self.open.discard(job)
                job.end_again()
            elif job.message is not None:
                self.arrived(job)
        self.heap = [
            (-job.priority, job.number, job)
            for job in self.open
            if job.worker is None or not job.worker.has(job)
        ]
        heapq.heapify(self.heap)
        self.cancelled_entries = 0
        self.size = sum(worker.counted for worker in self.workers)
        self.starting = sum(worker.counted and not worker.up for worker in self.workers)
        rest = [w for w in self.workers if w.up and not (w.leaving or w.going or w.count())]
        self.idle = sorted(rest, key=lambda worker: worker.idle_since)
        for worker in self.workers:
            worker.resting = worker in rest
        for worker in self.workers:
            worker._write_rest()
        self.dispatch()
        self.settle()


def _tell_event(on_event: Callable[..., object], session: _session.Session, frame: Frame) -> None:
    on_event(*session.load(frame))
