"""How the threads of a program drive the reactor of its pools.

The thread that waits for a job reads (it *leads*), others that wait follow. One thread of ours,
"earlyfork-pool", leads when nobody waits, and calls what users want to be called. As long as other
threads lead again and again it keeps out of their way: it looks every few milliseconds whether they
still do, or sleeps until the one that leads has finished. It ends when there is nothing to watch.
"""

from __future__ import annotations

import heapq
import os
import select
import socket
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.pool._reactor import Reactor
from earlyfork.rpc._line import open_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from earlyfork.pool._job import Job
    from earlyfork.pool._worker import Worker

#: Seconds without anybody who reads, after which the thread does.
NAP = 0.002
#: Events that are taken at once.
MOST_EVENTS = 64
_FOR_EVER = float("inf")


class Threads(Reactor):
    """The reactor of a program's threads."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = _Poll() if not hasattr(select, "epoll") else None
        self.epoll: Any = self.poller
        self.near: socket.socket | None = None
        self.far: socket.socket | None = None
        self.thread: threading.Thread | None = None
        #: The gates of all who wait. Who waits at the first one leads: it reads. So whoever is
        #: interrupted (Ctrl-C between any two steps) leads or does not, and no lock stays locked.
        self.waiters: deque[Any] = deque()
        #: Gates of those who wait for something else than the end of a job.
        self.lookers: set[Any] = set()
        #: How often somebody else than the thread has led.
        self.led = 0
        #: Where the thread sleeps, and whether it does so until it is woken.
        self.gate = threading.Lock()
        self.gate.acquire()
        self.sleeps = False
        #: Workers that have enough to do, with jobs that are sent by whoever next waits or reads.
        self.corked: set[Worker] = set()
        #: Until when whoever leads waits.
        self.until = _FOR_EVER

    # -- what is watched -----------------------------------------------------------------------

    def watch(self, fd: int, function: Callable[[int], None]) -> None:
        self._begin()
        self.sources[fd] = function
        self.epoll.register(fd, select.POLLIN)

    def also_write(self, fd: int, *, wants: bool) -> None:
        self.epoll.modify(fd, select.POLLIN | (select.POLLOUT if wants else 0))
        if self.poller is not None:
            self.wake()

    def unwatch(self, fd: int) -> None:
        if self.sources.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def _begin(self) -> None:
        """The thread runs as long as something is watched."""
        if self.near is None:
            self.near, self.far = socket.socketpair()
            self.near.setblocking(False)
            self.far.setblocking(False)
            if self.poller is None:
                self.epoll = select.epoll()
            self.epoll.register(self.far.fileno(), select.POLLIN)
            self.sources[self.far.fileno()] = self._woken
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, name="earlyfork-pool", daemon=True)
            self.thread.start()
        elif self.poller is not None:
            self.wake()

    def _woken(self, _mask: int) -> None:
        try:
            if self.far is not None:
                self.far.recv(4096)
        except BlockingIOError:
            return

    def wake(self) -> None:
        near = self.near
        try:
            if near is not None:
                near.send(b"!")
        except (BlockingIOError, OSError):  # it has enough to wake for, or is gone already
            return

    def at(self, when: float, function: Callable[[], None], core: Any) -> None:
        heapq.heappush(self.timers, (when, next(self._numbers), function, core))
        if when < self.until:
            self.wake()

    # -- waiting -------------------------------------------------------------------------------

    def wait_for_job(self, job: Job, deadline: float | None = None) -> bool:
        """Wait until a job has ended; False at the deadline."""
        return self.wait_for(lambda: job.over, deadline, job)

    def wait_for(
        self, done: Callable[[], bool], deadline: float | None = None, job: Job | None = None
    ) -> bool:
        """Wait until something is so; False at the deadline."""
        if done():
            return True
        gate = threading.Lock()
        gate.acquire()
        waiters = self.waiters
        try:
            try:
                waiters.append(gate)
                while not done():
                    if job is not None:
                        job.core.check_foreign()
                    if waiters[0] is gate:
                        self._lead(done, deadline)
                    else:
                        self._follow(gate, done, deadline, job)
                    if deadline is not None and monotonic() >= deadline:
                        return done()
                return True
            finally:
                if gate in waiters:
                    waiters.remove(gate)
                self._hand_on()
        except BaseException:
            # That may have been interrupted just there; and this may be, by one more Ctrl-C.
            handed = False
            while not handed:
                try:
                    self._hand_on()
                    handed = True
                except KeyboardInterrupt:
                    continue
            raise

    def _lead(self, done: Callable[[], bool], deadline: float | None) -> None:
        """Read until something is so."""
        self.led += 1
        if self.near is None:
            with self.lock:
                self._begin()
        while not done():
            self._turn(deadline)
            if self.callbacks:
                self._rouse()
            if self.lookers:
                self._let_look()
            if deadline is not None and monotonic() >= deadline:
                return

    def _turn(self, deadline: float | None) -> None:
        """Wait for something, and deal with it."""
        if self.suspect or self.dropped:
            self.handle()
            return
        if self.corked:
            self._uncork()
        left = -1.0
        if deadline is not None or self.timers or self.timed:
            with self.lock:
                earliest = self.next_time()
            if deadline is not None and (earliest is None or deadline < earliest):
                earliest = deadline
            self.until = _FOR_EVER if earliest is None else earliest
            if earliest is not None:
                left = max(0.0, earliest - monotonic())
        else:
            self.until = _FOR_EVER
        self.handle(self.epoll.poll(left, MOST_EVENTS))

    def _follow(
        self, gate: Any, done: Callable[[], bool], deadline: float | None, job: Job | None
    ) -> None:
        """Wait until another thread has done it, or until this one is to lead."""
        try:
            if job is None:
                self.lookers.add(gate)
            else:
                with self.lock:
                    job.gates = (*job.gates, gate)
            first = self.waiters[0]
            if done() or first is gate:
                return
            if first is self.gate:
                self.wake()  # the thread lets go of the lead
            gate.acquire(timeout=-1 if deadline is None else max(0.0, deadline - monotonic()))
        finally:
            if job is None:
                self.lookers.discard(gate)
            else:
                with self.lock:
                    job.gates = tuple(other for other in job.gates if other is not gate)

    def cork(self, worker: Worker) -> None:
        """This worker is busy: what was put for it may go out in one write with what comes next."""
        self.corked.add(worker)

    def _uncork(self) -> None:
        with self.lock:
            corked, self.corked = self.corked, set()
            for worker in corked:
                worker.flush()

    def _let_look(self) -> None:
        for gate in list(self.lookers):
            open_gate(gate)

    def _hand_on(self) -> None:
        """Let the next one lead that waits, or else the thread."""
        try:
            open_gate(self.waiters[0])
        except IndexError:
            if self.sleeps or self.wanted:
                self._rouse()

    def look(self) -> None:
        """Take in what has arrived, if nobody else does."""
        far = self.far
        if far is not None and not self.waiters:
            events = self.epoll.poll(0, MOST_EVENTS)
            # What is to wake whoever leads is left for that one.
            self.handle([event for event in events if event[0] != far.fileno()])
            if self.callbacks:
                self._rouse()

    def wait_for_the_thread(self) -> None:
        """Wait until the thread has ended, if there is nothing left for it to do."""
        thread = self.thread
        if thread is not None and thread is not threading.current_thread() and self._is_idle():
            self._rouse()
            thread.join(1.0)

    # -- the thread ----------------------------------------------------------------------------

    def want(self, job: Job) -> None:
        """Somebody is to be told of the end of this job, and does not wait here for it."""
        self.wanted.add(job)
        if job.over:
            self.wanted.discard(job)
        elif not self.waiters:
            self._rouse()

    def call_later(self, calls: Iterable[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        self.callbacks.extend(calls)
        if threading.current_thread() is not self.thread:
            with self.lock:
                self._begin()
            if self.gate in self.waiters:
                self.wake()
            self._rouse()

    def _rouse(self) -> None:
        """Have the thread look."""
        self.sleeps = False
        open_gate(self.gate)

    def _run(self) -> None:
        gate = self.gate
        seen = -1
        while True:
            self.call_back()
            with self.lock:
                if self._is_idle() and not self.waiters:
                    self._finish()
                    return
            if self.waiters:
                self.sleeps = True
                if self.waiters and not self.callbacks:
                    gate.acquire()
                self.sleeps = False
            elif seen == self.led or self.wanted:
                self._lead_in_thread()
            seen = self.led
            if not self.callbacks and (not self.wanted or self.waiters):
                gate.acquire(timeout=NAP)

    def _lead_in_thread(self) -> None:
        gate, waiters = self.gate, self.waiters
        waiters.append(gate)
        try:
            # As soon as somebody else waits, that one leads.
            while len(waiters) == 1 and not self.callbacks and not self._is_idle():
                self._turn(None)
                if self.lookers:
                    self._let_look()
        finally:
            waiters.remove(gate)
            self._hand_on()

    def _is_idle(self) -> bool:
        return len(self.sources) <= 1 and not (self.timers or self.callbacks or self.dropped)

    def _finish(self) -> None:
        """Under the lock, with nothing left to watch."""
        near, far, self.near, self.far = self.near, self.far, None, None
        if far is not None:
            self.sources.pop(far.fileno(), None)
        self.thread = None
        if self.poller is None:
            self.epoll.close()
        else:
            self.epoll.clear()
        for sock in (near, far):
            if sock is not None:
                sock.close()


class _Poll:
    """epoll, where there is only poll: whoever leads is woken for each change."""

    def __init__(self) -> None:
        self.fds: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        self.fds[fd] = mask

    modify = register

    def unregister(self, fd: int) -> None:
        self.fds.pop(fd, None)

    def clear(self) -> None:
        self.fds.clear()

    def poll(self, left: float, _most: int) -> list[tuple[int, int]]:
        poller = select.poll()
        for fd, mask in list(self.fds.items()):
            poller.register(fd, mask)
        return poller.poll(None if left < 0 else int(left * 1000 + 0.999))


class _Only:
    reactor = Threads()


def reactor() -> Threads:
    """The program's one."""
    return _Only.reactor


def _after_fork_in_child() -> None:
    """In the host's own child: the pools are its parent's."""
    former, _Only.reactor = _Only.reactor, Threads()
    parent = os.getppid()
    for core in list(former.cores):
        core.disown(parent)
    if former.near is not None and former.poller is None:
        former.epoll.close()
    for sock in (former.near, former.far):
        if sock is not None:
            sock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
