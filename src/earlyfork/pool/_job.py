"""`Job`: what `Pool.submit` gives."""

from __future__ import annotations

import threading
from concurrent import futures
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.rpc import CallCancelled
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._line import open_gate
from earlyfork.rpc._session import Slot

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork.rpc._wire import Frame


_fetching = threading.RLock()
#: In the place of an answer of which the result was made.
_SPENT = (wire.DIED, 0, 0, None, (), ())


class Job(Slot, futures.Future[Any]):
    """One job of a pool: a `concurrent.futures.Future`. `Pool.submit` makes it.

    `result` and `exception` need no other thread: who asks reads the answer. Whatever wants to be
    told (`add_done_callback`, `concurrent.futures.wait`, `asyncio.wrap_future`) is told by the
    thread "earlyfork-pool".
    """

    watched = True  # by its core: see `arrived`
    _state = "PENDING"
    #: It has ended.
    over: bool = False
    _result = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _fetched = _told = False
    #: Locks that threads wait at for the end of this job, or for its next item.
    gates: tuple[Any, ...] = ()
    #: The worker that has it, or had it last.
    worker: Any = None
    #: The worker that it is meant for, if it is for one alone.
    only: Any = None
    priority = 0
    number = 0
    retries = 0
    kind: int = wire.CALL
    message: Frame | None = None
    ref = 0
    body: bytes = b""
    buffers: Any = ()
    fds: Any = ()
    #: No worker could begin.
    is_broken = False

    def __init__(self, core: Any) -> None:
        self.core = core

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        """What `concurrent.futures` waits at. The pool's thread must read then."""
        found = self.__dict__.get("_made")
        if found is None:
            self._waiters = self._waiters or []
            found = self.__dict__.setdefault("_made", threading.Condition())
            self.core.reactor.want(self)
        return found

    def __repr__(self) -> str:
        state = "running" if self.running() else self._state.lower().partition("_")[0]
        return f"<Job {self.name}, {state}>"

    # -- its end -------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Its answer has come, or an item. Called under the reactor's lock."""
        self.core.arrived(self)

    def end(self, state: str) -> None:
        """From now on it has ended; tell all who wait."""
        self._state = state
        self.over = True
        for gate in self.gates:
            open_gate(gate)
        if "_made" in self.__dict__:
            with self._condition:
                told, self._told = self._told, True
                for waiter in () if told else self._waiters:
                    if state != "FINISHED":
                        waiter.add_cancelled(self)
                    elif self.reason or self.message is None or self.message[0] != wire.RESULT:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
                self._condition.notify_all()
        if self._done_callbacks:
            self._queue_callbacks()

    def end_again(self) -> None:
        """The same once more, after an interruption."""
        self.end(self._state)

    def _queue_callbacks(self) -> None:
        callbacks = self._done_callbacks
        self.core.reactor.call_later([(function, (self,)) for function in callbacks])
        self._done_callbacks = ()

    def cancel(self) -> bool:
        """Cancel the job, even one that runs; False if it has ended already.

        In a job that runs CallCancelled is raised. If it runs on for a second, its worker is
        killed and replaced.
        """
        return self._state == "CANCELLED_AND_NOTIFIED" or self.core.cancel(self)

    def cancelled(self) -> bool:
        """Whether the job was cancelled."""
        return self._state == "CANCELLED_AND_NOTIFIED"

    def running(self) -> bool:
        """Whether a worker has it, and may have begun it."""
        worker = self.worker
        if worker is None or self.over:
            return False
        return bool(worker.has(self) and worker._session.may_run(self.ident))

    def done(self) -> bool:
        """Whether the job has ended. Looks at what has arrived."""
        if not self.over:
            self.core.reactor.look()
        return self.over

    def set_running_or_notify_cancel(self) -> bool:
        """Whether it is not cancelled, as an executor asks."""
        return not self.cancelled()

    # -- its outcome ---------------------------------------------------------------------------

    def outcome(self) -> Any:
        """What a job that has ended gives.

        Raises:
            BaseException: what it has raised, or why it did not come to its end.
        """
        if self._state == "CANCELLED_AND_NOTIFIED":
            raise CallCancelled(f"{self.name or 'a job'} was cancelled")
        if self.is_broken:
            raise self.core.breakage()
        assert self.worker is not None
        return self.worker._session.outcome(self)

    def _fetch(self, timeout: float | None) -> None:
        """Wait for the end, and make a result or an exception of it, once."""
        if not self.over:
            deadline = None if timeout is None else monotonic() + timeout
            if not self.core.reactor.wait_for_job(self, deadline):
                raise futures.TimeoutError(f"{self.name or 'the job'} has not ended yet")
        if self._state == "CANCELLED_AND_NOTIFIED":
            raise CallCancelled(f"{self.name or 'a job'} was cancelled")
        with _fetching:
            if not self._fetched:
                try:
                    self._result = self.outcome()
                except BaseException as error:
                    self._exception = error
                self._fetched = True
                self.message = _SPENT  # what it held is in the result

    def result(self, timeout: float | None = None) -> Any:
        """What the function has returned.

        Args:
            timeout: seconds to wait at most. The job goes on after that.

        Raises:
            TimeoutError: it has not ended yet.
            WorkerDied: its worker ended while it ran.
            CallTimeout, CallCancelled: it was ended.
            PoolBroken: no worker could begin.
            BaseException: what the function has raised.
        """
        if not self._fetched:
            self._fetch(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                del self  # no circle through the traceback
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise, or None."""
        if not self._fetched:
            self._fetch(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn(job)` in the pool's thread when the job has ended; at once if it has already."""
        with self.core.reactor.lock:
            if not self.over:
                self._done_callbacks = (*self._done_callbacks, fn)
                self.core.reactor.want(self)
                return
        try:
            fn(self)
        except Exception:
            futures._base.LOGGER.exception("exception calling callback for %r", self)


Job.__module__ = "earlyfork.pool"  # where users import it from
