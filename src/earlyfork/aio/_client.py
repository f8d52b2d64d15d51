"""`Client`: as `earlyfork.rpc.Client`, for tasks of an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earlyfork import rpc
from earlyfork.aio._line import Items, line_class
from earlyfork.aio._loops import loop
from earlyfork.aio._processes import wait
from earlyfork.rpc import _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._board import Place
from earlyfork.rpc._items import BaseStream
from earlyfork.rpc._options import check_options
from earlyfork.rpc._stderr import last_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from earlyfork import Process


class Client:
    """A process that answers calls, for the tasks of one event loop.

    Arguments, results and errors are those of `earlyfork.rpc.Client`. A task that is cancelled
    while it waits for a call has the call cancelled over there: CallCancelled is raised in it, and
    the worker is killed if the call runs on for a second (`options` says otherwise). The task waits
    for that, so when it is over nothing of it runs any more.
    """

    def __init__(  # noqa: PLR0913 - all but one by keyword
        self,
        process: Process,
        target: Any = None,
        *,
        init: Any = None,
        concurrency: int = 1,
        on_event: Callable[..., object] | None = None,
        window: int = 256,
        linked: bool = True,
        stderr: str | None = None,
        visible: bool = False,
    ) -> None:
        kind = line_class()
        state, body = _session.begin(process, target, init, concurrency, window, on_event)
        self._line = kind(process, state, window, on_event)
        self._line._loop = loop()
        self._line._kept = last_words(stderr, process, rpc.Client)
        self._line._sock = process.run("earlyfork.rpc._serve:serve", linked=linked)
        self._line._sock.setblocking(False)
        if visible:
            state.place = Place(self._line._sock, concurrency)
        self._window = window
        self._line._hello(body)

    def __repr__(self) -> str:
        return f"<Client of {self.process!r}, {self.pending} pending>"

    @property
    def process(self) -> Process:
        """The worker's process."""
        return self._line._process

    @property
    def pending(self) -> int:
        """How many calls are unanswered."""
        return len(self._line._session.calls)

    async def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function over there, and wait for its result. As `earlyfork.rpc.Client.call`."""
        return await self._call(fn, args, kwargs)

    async def _call(
        self, fn: Any, args: Any, kwargs: Any, options: tuple[str, float] | None = None
    ) -> Any:
        line = self._line
        slot = line._new_slot()
        if options is not None:
            slot.policy, slot.grace = options
        calls = line._session.calls
        while len(calls) >= self._window:
            await line._wait_until(lambda: len(calls) < self._window)
        line._begin(slot, wire.CALL, fn, args, kwargs)
        try:
            await line._wait_slot(slot)
        except line._loop.Cancelled:
            await line._finish(slot)
            raise
        frame = slot.message
        if frame is not None and frame[0] == wire.RESULT:
            return line._session.load(frame)
        return line._session.outcome(slot)

    async def post(self, fn: Any, /, *args: Any, **kwargs: Any) -> None:
        """Call a function over there without an answer. Its errors go to the worker's stderr."""
        line = self._line
        line._begin(None, wire.POST, fn, args, kwargs)
        if line._outbox.queue:
            await line._wait_until(lambda: not line._outbox.queue)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> Stream:
        """Iterate (`async for`) over a generator over there. As `earlyfork.rpc.Client.stream`."""
        return Stream(self._line, Items(), fn, args, kwargs, window=window)

    def options(self, *, cancel: str = "soft", grace: float = 1.0) -> Options:
        """The same calls, cancelled in another way: see `earlyfork.rpc.Client.options`."""
        return Options(self, cancel, grace)

    async def events(self) -> AsyncIterator[tuple[Any, ...]]:
        """Iterate over the worker's events, each a tuple; ends when the worker has ended."""
        line = self._line
        queue = line._session.events
        while True:
            while queue:
                yield line._session.load(queue.popleft())
            if line._session.ended is not None:
                return
            await line._wait_until(lambda: bool(queue))

    def close(self) -> None:
        """Make no more calls: the worker answers what it was asked for, and then ends."""
        self._line._close_calls()

    def kill(self) -> None:
        """Kill the worker at once; open calls end with WorkerDied."""
        self._line._kill_worker()

    async def join(self) -> int:
        """Close, and wait until the worker is gone; its exit status, or minus the signal's number.

        Raises:
            ProcessLost: nobody can know how it ended, since its template was killed.
        """
        self.close()
        line = self._line
        await line._wait_until(lambda: False)
        line._sock.close()
        return await wait(line._process)

    async def __aenter__(self) -> Client:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.kill()
            await self._line._loop.shielded(self.join)
            return
        try:
            await self.join()
        except BaseException:
            self.kill()
            await self._line._loop.shielded(self.join)
            raise

    def _rest(self) -> bool:
        """For now nobody waits for this worker; False if it can't be used again."""
        line = self._line
        line.rest()
        return not line._session.closed and not self.pending

    def __del__(self) -> None:
        line = self.__dict__.get("_line")
        sock = None if line is None else line.__dict__.get("_sock")
        if line is not None and sock is not None:
            if sock.fileno() >= 0:
                line.rest()  # or the loop looks at whoever gets the number of this fd
            sock.close()


class Options:
    """Calls that are cancelled in another way: `Client.options` makes it."""

    def __init__(self, client: Client, cancel: str, grace: float) -> None:
        check_options(None, cancel, grace)
        self._client = client
        self._cancel = cancel
        self._grace = grace

    async def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """As `Client.call`."""
        return await self._client._call(fn, args, kwargs, (self._cancel, self._grace))


class Stream(BaseStream):
    """What a generator over there yields. `Client.stream` makes it."""

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        slot = self._slot
        if not slot.items and slot.message is None:
            await self._line._wait_until(lambda: bool(slot.items) or slot.message is not None)
        return self._take(StopAsyncIteration)

    async def aclose(self) -> None:
        """End the generator over there (GeneratorExit is raised in it). No more items come."""
        self._end()

    async def __aenter__(self) -> Stream:  # noqa: PYI034
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
