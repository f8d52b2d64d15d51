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
        #: Held by who reads.
        self.lead = threading.Lock()
        self.followers: deque[Any] = deque()
        #: Gates of those who wait for something else than the end of a job.
        self.lookers: deque[Any] = deque()
        self.thread_leads = False
        #: How many threads want the lead from the thread; how often somebody else has led.
        self.kicks = self.led = 0
        #: Where the thread sleeps, and whether it does so until it is woken.
        self.gate = threading.Lock()
        self.gate.acquire()
        self.sleeps = False
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
        while not done():
            core = None if job is None else job.core
            if core is not None:
                core.check_foreign()
            if self.lead.acquire(False):
                self._lead(done, deadline)
            elif self.thread_leads:
                self._take_lead(done, deadline)
            else:
                self._follow(done, deadline, job)
            if deadline is not None and monotonic() >= deadline:
                return done()
        return True

    def _lead(self, done: Callable[[], bool], deadline: float | None) -> None:
        """Read until something is so. The caller has acquired the lead."""
        try:
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
        finally:
            self.lead.release()
            self._hand_on()

    def _turn(self, deadline: float | None) -> None:
        """Wait for something, and deal with it."""
        if self.suspect or self.dropped:
            self.handle()
            return
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

    def _take_lead(self, done: Callable[[], bool], deadline: float | None) -> None:
        """Have the thread let go of the lead."""
        self.kicks += 1
        try:
            self.wake()
            left = -1.0 if deadline is None else max(0.0, deadline - monotonic())
            if not self.lead.acquire(timeout=left):
                return
        finally:
            self.kicks -= 1
        self._lead(done, deadline)

    def _follow(self, done: Callable[[], bool], deadline: float | None, job: Job | None) -> None:
        """Wait until another thread has done it, or stops reading."""
        gate = threading.Lock()
        gate.acquire()
        self.followers.append(gate)
        if job is None:
            self.lookers.append(gate)
        else:
            with self.lock:
                job.gates = (*job.gates, gate)
        try:
            if done() or self.thread_leads or not self.lead.locked():
                return
            gate.acquire(timeout=-1 if deadline is None else max(0.0, deadline - monotonic()))
        finally:
            self.followers.remove(gate)
            if job is None:
                self.lookers.remove(gate)
            else:
                with self.lock:
                    job.gates = tuple(other for other in job.gates if other is not gate)
            # This may have been opened as the next to lead, and leave now.
            if self.followers and not self.lead.locked():
                self._hand_on()

    def _let_look(self) -> None:
        for gate in list(self.lookers):
            open_gate(gate)

    def _hand_on(self) -> None:
        """Let the next one lead that waits, or else the thread."""
        try:
            open_gate(self.followers[0])
        except IndexError:
            if self.sleeps or self.wanted:
                self._rouse()

    def look(self) -> None:
        """Take in what has arrived, if nobody else does."""
        if self.near is None or not self.lead.acquire(False):
            return
        try:
            self.handle(self.epoll.poll(0, MOST_EVENTS))
        finally:
            self.lead.release()
            if self.callbacks or self.sleeps or self.followers:
                self._hand_on()

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
        elif not self.thread_leads:
            self._rouse()

    def call_later(self, calls: Iterable[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
        self.callbacks.extend(calls)
        if threading.current_thread() is not self.thread:
            with self.lock:
                self._begin()
            if self.thread_leads:
                self.wake()
            self._rouse()

    def _rouse(self) -> None:
        """Have the thread look."""
        self.sleeps = False
        open_gate(self.gate)

    def _run(self) -> None:
        seen = -1
        while True:
            self.call_back()
            with self.lock:
                if self._is_idle() and self.lead.acquire(False):
                    try:
                        self._finish()
                    finally:
                        self.lead.release()
                    return
            if self.lead.locked():
                self.sleeps = True
                if self.lead.locked() and not self.callbacks:
                    self.gate.acquire()
                self.sleeps = False
            if seen == self.led or self.wanted:
                self._lead_in_thread()
            seen = self.led
            if not self.callbacks:
                self.gate.acquire(timeout=NAP)

    def _lead_in_thread(self) -> None:
        if not self.lead.acquire(False):
            return
        self.thread_leads = True
        try:
            while not self.kicks and not self.callbacks:
                if self._is_idle():
                    return
                self._turn(None)
                if self.lookers:
                    self._let_look()
        finally:
            self.thread_leads = False
            self.lead.release()
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
