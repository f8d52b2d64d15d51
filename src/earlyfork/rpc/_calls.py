"""What `Client.submit`, `stream` and `options` give."""

from __future__ import annotations

import threading
from concurrent import futures
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.rpc import _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._errors import CallCancelled
from earlyfork.rpc._items import BaseStream
from earlyfork.rpc._line import Items, Waiting, open_gate
from earlyfork.rpc._options import check_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork.rpc._line import Line
    from earlyfork.rpc._session import Slot


class Call(_session.Slot, futures.Future[Any]):
    """A call that is under way: a `concurrent.futures.Future`. `Client.submit` makes it.

    `result`, `exception` and `done` need no other thread: who asks reads the answer. As soon as
    callbacks are wanted (`add_done_callback`, `concurrent.futures.wait`, `asyncio.wrap_future`) a
    thread of the name "earlyfork-rpc" reads for all such clients of this program.
    """

    _state = "PENDING"
    _result = None
    _exception: BaseException | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _fetched = _told = False
    gate: Any = None

    def __init__(self, client: Line) -> None:
        self._client = client

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        """What `concurrent.futures` waits at. Whoever asks for it can't read answers itself."""
        found = self.__dict__.get("_made")
        if found is None:
            self._waiters = self._waiters or []
            found = self.__dict__.setdefault("_made", threading.Condition())
            self.watched: bool = True
            self._client._needs_reader(self)
        return found

    def __repr__(self) -> str:
        return f"<Call {self.name}, {self._state.lower()}>"

    def arrived(self) -> None:
        """Tell all who wait, and call what is to be called."""
        if self._state == "PENDING":
            self._state = "FINISHED"
        open_gate(self.gate)
        if "_made" in self.__dict__:
            with self._condition:
                told, self._told = self._told, True
                for waiter in () if told else self._waiters:
                    if self._state != "FINISHED":
                        waiter.add_cancelled(self)
                    elif self.reason or self.message is None or self.message[0] != wire.RESULT:
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
                self._condition.notify_all()
        self._run_callbacks()
        self._client._wanting.discard(self)

    def _run_callbacks(self) -> None:
        callbacks, self._done_callbacks = self._done_callbacks, ()
        if callbacks:
            self._client._callbacks.extend((function, self) for function in callbacks)

    def cancel(self) -> bool:
        """Cancel the call, even one that runs; False if it has ended already."""
        if self.message is not None or self.reason:
            return self._state == "CANCELLED_AND_NOTIFIED"
        self.reason = "cancel"
        self._state = "CANCELLED_AND_NOTIFIED"
        self._client._end_call(self)
        self.arrived()
        self._client._call_back()
        return True

    def cancelled(self) -> bool:
        """Whether the call was cancelled."""
        return self._state == "CANCELLED_AND_NOTIFIED"

    def running(self) -> bool:
        """Whether the call is known to have begun, and not to have ended."""
        return self.begun is True and not self.done()

    def done(self) -> bool:
        """Whether the call has ended. Looks at what has arrived."""
        if self.message is None and not self.reason:
            self._client._look()
        return self.message is not None or self._state == "CANCELLED_AND_NOTIFIED"

    def set_result(self, _result: object) -> None:
        """Refused: a call ends by its answer.

        Raises:
            InvalidStateError: always.
        """
        raise futures.InvalidStateError(f"{self!r} is ended by its worker's answer alone")

    set_exception = set_result  # type: ignore[assignment]

    def set_running_or_notify_cancel(self) -> bool:
        """Whether it is not cancelled, as an executor asks."""
        return not self.cancelled()

    def _fetch(self, timeout: float | None) -> None:
        """Wait for the end, and make a result or an exception of it, once."""
        if self._state != "CANCELLED_AND_NOTIFIED" and self.message is None:
            try:
                self._client._wait(self, None if timeout is None else monotonic() + timeout)
            except TimeoutError as late:
                raise futures.TimeoutError(*late.args) from None  # another one before 3.11
        if self._state == "CANCELLED_AND_NOTIFIED":
            raise CallCancelled(f"{self.name or 'a call'} was cancelled")
        with _fetching:
            if self._fetched:
                return
            frame = self.message
            try:
                if frame is None or frame[0] != wire.RESULT or frame[4] or frame[5] or self.reason:
                    self._result = self._client._session.outcome(self)
                else:
                    self._result = self._client._session.loads(frame[3])  # the usual case of that
            except BaseException as error:
                self._exception = error
            self._state = "FINISHED"
            self._fetched = True

    def result(self, timeout: float | None = None) -> Any:
        """What the function has returned.

        Args:
            timeout: seconds to wait at most. The call goes on after that.

        Raises:
            TimeoutError: it has not ended yet.
            BaseException: as `Client.call` does.
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
        self._fetch(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call `fn(call)` when the call has ended, in the thread that reads for this client."""
        self.watched = True
        self._done_callbacks = (*self._done_callbacks, fn)
        if self.message is not None or self.cancelled():
            self._run_callbacks()
            self._client._call_back()
        else:
            self._client._needs_reader(self)


_fetching = threading.RLock()


class Stream(BaseStream):
    """What a generator over there yields, one item after the other. `Client.stream` makes it."""

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        self._line._wait_for_item(self._slot)
        return self._take(StopIteration)

    def close(self) -> None:
        """End the generator over there (GeneratorExit is raised in it). No more items come."""
        self._end()

    def __enter__(self) -> Stream:  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Options:
    """Calls of one client with options: `Client.options` makes it."""

    def __init__(self, client: Line, timeout: float | None, cancel: str, grace: float) -> None:
        check_options(timeout, cancel, grace)
        self._client = client
        self._timeout = timeout
        self._cancel = cancel
        self._grace = grace

    def _set(self, slot: Slot) -> None:
        slot.limit, slot.policy, slot.grace = self._timeout, self._cancel, self._grace
        slot.goes_before = slot.goes_before or slot.limit is not None

    def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `Client.call`."""
        slot = Waiting()
        self._set(slot)
        self._client._begin(slot, wire.CALL, fn, args, kwargs)
        self._client._wait(slot)
        return self._client._session.outcome(slot)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Call:
        """As `Client.submit`."""
        call = Call(self._client)
        self._set(call)
        self._client._begin(call, wire.CALL, fn, args, kwargs)
        return call

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> Stream:
        """As `Client.stream`; the timeout is that of the function's first item's beginning."""
        slot = Items()
        self._set(slot)
        return Stream(self._client, slot, fn, args, kwargs, window=window)
