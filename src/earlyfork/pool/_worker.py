"""One worker of a pool: a line to it on which nothing ever waits."""

from __future__ import annotations

import select
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork import EarlyForkError, ProcessLost
from earlyfork.pool._there import BEGUN
from earlyfork.rpc import Client
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._board import Place
from earlyfork.rpc._line import Line, tells_unread
from earlyfork.rpc._session import Session
from earlyfork.rpc._stderr import last_words
from earlyfork.rpc._wire import DONTWAIT, NOSIGNAL, pack_plain

if TYPE_CHECKING:
    from earlyfork import Process
    from earlyfork.pool._job import Job

_WRITE = DONTWAIT | NOSIGNAL
_WRITES = (_WRITE,)
_BEGUN = BEGUN.encode()
#: Seconds that a worker may live on after it has closed its socket.
GRACE = 1.0


class Worker(Line):
    """A worker. All of it is used under the reactor's lock only."""

    def __init__(self, core: Any, process: Process, hello: bytes) -> None:
        state = Session(has_main=False, has_target=False, concurrency=core.concurrency)
        state.suit(process)
        super().__init__(process, state, 1 << 30, None)
        self.core = core
        #: It has begun, and takes jobs.
        self.up = False
        #: It takes no more jobs.
        self.leaving = False
        #: It has closed its socket.
        self.going = False
        #: It counts as one of the pool's `max_workers`.
        self.counted = True
        #: It has nothing to do.
        self.resting = False
        self.given = 0
        self.idle_since = 0.0
        self.since = monotonic()
        self.pid: int | None = None
        #: How many functions' names it was told.
        self.defined = 0
        #: Jobs that will be in the next write, with their packets.
        self.fresh: list[tuple[Job, bytes]] = []
        self._intent: Any = None
        #: Calls of which is known that they never began.
        self.not_begun: set[int] = set()
        self._sock = process.run("earlyfork.rpc._serve:serve", linked=True)
        self._sock.setblocking(False)
        if core.visible:
            state.place = Place(self._sock, core.concurrency)
        self.fd = self._sock.fileno()
        self._wants_to_write = False
        kept = self._kept = last_words(core.stderr, process, Client)
        self._outbox.put(wire.HELLO, 0, 0, hello, (), () if kept is None else [kept.take()])
        core.workers.add(self)
        core.reactor.watch(self.fd, self.on_ready)
        self._write_rest()

    def __repr__(self) -> str:
        return f"<worker {self.pid}, {len(self._session.calls)} jobs>"

    # -- giving jobs ---------------------------------------------------------------------------

    def count(self) -> int:
        """How many jobs it has."""
        return len(self._session.calls) + len(self.fresh)

    def has(self, job: Job) -> bool:
        """Whether it has this job, unanswered."""
        return self._session.calls.get(job.ident) is job

    def put(self, job: Job) -> None:
        """Take in a job; `flush` sends it."""
        state, core = self._session, self.core
        state.last = ident = state.last + 1
        before = b""
        if self.defined != len(core.definitions):
            before = b"".join(core.definitions[self.defined :])
            self.defined = len(core.definitions)
        if job.limit is not None or job.is_stream:
            before += self._prelude(job, ident)
        job.ident = ident
        job.worker = self
        self.given += 1
        if job.buffers or job.fds:
            self.flush()
            duplicates = core.duplicates(job)
            self._outbox.put(job.kind, ident, job.ref, job.body, job.buffers, duplicates, before)
            state.calls[ident] = job
            return
        body = job.body
        packet = before + pack_plain(job.kind, job.ref, ident, len(body)) + body
        self.fresh.append((job, packet))

    def flush(self) -> None:
        """Send what was taken in, in one write."""
        fresh = self.fresh
        queue = self._outbox.queue
        if fresh:
            data = fresh[0][1] if len(fresh) == 1 else b"".join([packet for _, packet in fresh])
            counts = [0]
            packet = [data, None, counts]
            slots = {job.ident: job for job, _ in fresh}
            # An interruption (Ctrl-C) may come after each of these; then `mend` goes on from there.
            self._intent = (packet, slots)
            queue.append(packet)
            self._session.calls.update(slots)
            self.fresh = []
            self._intent = None
            if len(queue) == 1 and not self.going:  # the usual case of `_write_rest`
                try:
                    counts.extend(map(self._sock.send, (data,), _WRITES))
                    if counts[1] == len(data):
                        queue.popleft()
                    else:
                        self._write_rest()
                except OSError:  # `_write_rest` tries it again, and sees to it
                    self._write_rest()
            else:
                self._write_rest()
        elif queue:
            self._write_rest()
        if fresh and self._session.place is not None:  # after they are sent: meanwhile it works
            self._session.place.show(self._session)

    def mend(self) -> None:
        """After an interruption: what is in the outbox was given, and nothing else."""
        if not self.going and self.fd not in self.core.reactor.sources:
            self.core.reactor.watch(self.fd, self.on_ready)
        intent, self._intent = self._intent, None
        if intent is not None:
            packet, slots = intent
            if any(waiting is packet for waiting in self._outbox.queue):
                self._session.calls.update(slots)
        self.fresh = []
        if not self.going:
            self._hear_all()  # what was read and not heard
            self._sort_events()

    def _write_rest(self) -> None:
        """Write what there is room for; the rest is written when there is room again."""
        queue = self._outbox.queue
        if self.going:
            queue.clear()
        while queue:
            try:
                if self._outbox.write(self._sock, _WRITE):
                    break
            except BlockingIOError:
                if not self._wants_to_write:
                    self._wants_to_write = True
                    self.core.reactor.also_write(self.fd, wants=True)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._unread = True  # nobody reads there any more, which reading tells here
                queue.clear()
        if self._wants_to_write:
            self._wants_to_write = False
            self.core.reactor.also_write(self.fd, wants=False)

    # -- hearing -------------------------------------------------------------------------------

    def on_ready(self, mask: int) -> None:
        """Something is to be read, or there is room to write."""
        if mask & select.POLLOUT:
            self._write_rest()
        if not mask & ~select.POLLOUT or self.going:
            return
        state = self._session
        self._read_once(now=True)
        if state.events:
            self._sort_events()
        if state.timed:
            self.core.reactor.timed.add(self)
        self.core.heard(self)

    def _sort_events(self) -> None:
        """Find the word that it has begun; the rest is for the user."""
        events = self._session.events
        while events:
            frame = events.popleft()
            if not self.up and _BEGUN in frame[3]:
                self.up = True
                self.core.began(self)
            else:
                self.core.event(self._session, frame)

    def _hand_on(self) -> None:
        """The reactor does that."""

    def _wait_for_the_end_if_lost(self) -> None:
        """Its end is heard in time."""

    # -- its end -------------------------------------------------------------------------------

    def leave(self) -> None:
        """Have it end as soon as it has answered what it was given."""
        if not self.leaving:
            self.leaving = True
            self.flush()
            self._close_calls()

    def _end(self, why: str = "") -> None:
        """It has closed its socket: wait for the process to be gone, and begin its successor."""
        if self.going:
            return
        self.going = True
        self._why = why
        reactor = self.core.reactor
        reactor.unwatch(self.fd)
        self._sock.close()
        if why:
            self._process.kill()
        try:
            self._sentinel = self._process.sentinel
        except (EarlyForkError, OSError) as error:
            self._gone(error)
            return
        reactor.watch(self._sentinel, self.on_gone)
        reactor.at(monotonic() + GRACE, self.on_late, self.core)
        self.core.goes(self)

    def on_late(self) -> None:
        """It has closed its socket and lives on."""
        if self._session.ended is None:
            self._process.kill()

    def on_gone(self, _mask: int) -> None:
        """The process is gone: learn how it ended."""
        self.core.reactor.unwatch(self._sentinel)
        self._gone(None)

    def _gone(self, error: Exception | None) -> None:
        returncode: int | None = None
        process = self._process
        if error is None:
            try:
                returncode = process.wait(GRACE)
                self.pid = process.pid
            except ProcessLost as lost:
                self.pid = lost.pid
            except (EarlyForkError, OSError) as found:  # it was never made
                error = found
        said = process.error if error is None else None
        words = said.remote_traceback if said is not None else ""
        kept, self._kept = self._kept, None
        call = kept.ask() if kept is not None and self.count() else None
        if call is None:
            self.core.gone(self, returncode, words, self._why, error)
            return

        def told(call: Any) -> None:
            kept_words = kept.told(call) or words
            self.core.reactor.drop(
                lambda: self.core.gone(self, returncode, kept_words, self._why, error)
            )

        call.add_done_callback(told)

    def has_unread(self) -> bool | None:
        """Whether it has left something unread of what was sent to it; None: nobody knows."""
        return self._unread if tells_unread() else None

    def disown(self, parent: int) -> None:
        """In a child of the host: the worker is its parent's."""
        self._disown(parent)
