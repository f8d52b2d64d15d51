"""`Client`: a process that answers calls. How its threads do that is in `_line`."""

from __future__ import annotations

import os
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork.rpc import _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._board import SharedPlace
from earlyfork.rpc._calls import Call, Options, Stream
from earlyfork.rpc._line import Items, Line, Waiting
from earlyfork.rpc._stderr import last_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from earlyfork import Process

#: All clients of this process, for the case that it forks itself.
_ALL: weakref.WeakSet[Client] = weakref.WeakSet()


class Client(Line):
    """A process that answers calls.

    It takes the process over, as `Process.run` does, and never waits for it.

    Args:
        process: a prepared process; `new()` will do.
        target: a module or object, or its name: only what that exposes can be called, by its plain
            name. Default: any function that can be imported there.
        init: a function that runs first, with what `send_arg` and `send_fh` gave.
        concurrency: how many calls the worker runs at once. With 1 it runs them one after the other
            in its main thread; with more, coroutines as tasks and other functions in threads.
        on_event: called with the arguments of each `event` of the worker, in order with the
            answers, in a thread that reads for all such clients.
        window: how many calls may be unanswered. Who makes one more waits for an answer first.
        linked: end the worker when this program ends, as `Process.run(linked=True)` does.
        stderr: None: the worker has the stderr that its process has. "keep": what it writes there
            is passed on to this program's by a process that is made for that, and the last 4 KB
            of it are in `WorkerDied.stderr`.
        visible: let `earlyfork top` see which call runs, since when, and how many wait. A trivial
            call takes up to a twentieth longer.

    Raises:
        TypeError, ValueError: the target or init can't be found over there, or an option means
            nothing.
        ProcessStateError: the process runs already, or is closed.

    Modelled on AnyEvent::Fork::RPC.
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
        state, body = _session.begin(process, target, init, concurrency, window, on_event)
        super().__init__(process, state, window, on_event)
        self._kept = last_words(stderr, process, Client)
        self._sock = process.run("earlyfork.rpc._serve:serve", linked=linked)
        self._sock.settimeout(None)
        if visible:
            state.place = SharedPlace(self._sock, concurrency)
        _ALL.add(self)
        self._hello(body)
        if on_event is not None:
            self._needs_reader(None)

    def __repr__(self) -> str:
        return f"<Client of {self._process!r}, {self.pending} pending>"

    @property
    def process(self) -> Process:
        """The worker's process."""
        return self._process

    @property
    def pending(self) -> int:
        """How many calls are unanswered."""
        return len(self._session.calls)

    # -- calls ---------------------------------------------------------------------------------

    def call(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function over there, and wait for its result.

        Args:
            fn: a function of a module, or its name (`pkg.mod.func`, `pkg.mod:obj.attr`).
            *args: what it is called with. Files and sockets in them are passed on.
            **kwargs: the same.

        Raises:
            WorkerDied: the worker ended before it answered.
            TypeError, ValueError: the function can't be found, or an argument not be pickled;
                nothing was sent.
            BaseException: what the function has raised; its traceback there is the cause.
        """
        slot = Waiting()
        self._begin(slot, wire.CALL, fn, args, kwargs)
        self._wait(slot)
        frame = slot.message
        if frame is not None and frame[0] == wire.RESULT and not frame[4] and not frame[5]:
            return self._session.loads(frame[3])  # the usual case of `outcome`
        return self._session.outcome(slot)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Call:
        """Call a function over there, and go on. Waits only while `window` calls are unanswered.

        Returns:
            A `concurrent.futures.Future`. Its `cancel` works on a call that runs.

        Raises:
            WorkerDied, TypeError, ValueError: as `call` does.
        """
        call = Call(self)
        self._begin(call, wire.CALL, fn, args, kwargs)
        return call

    def post(self, fn: Any, /, *args: Any, **kwargs: Any) -> None:
        """Call a function over there without an answer. Its errors go to the worker's stderr."""
        self._begin(None, wire.POST, fn, args, kwargs)

    def stream(self, fn: Any, /, *args: Any, window: int = 16, **kwargs: Any) -> Stream:
        """Iterate over a generator over there.

        Args:
            fn: a function that returns a generator, an async generator, or any iterable.
            *args: what it is called with.
            window: how many items it may be ahead.
            **kwargs: what it is called with.

        Returns:
            An iterator. `close()` ends the generator over there; so does dropping the iterator.
        """
        return Stream(self, Items(), fn, args, kwargs, window=window)

    def options(
        self, *, timeout: float | None = None, cancel: str = "soft", grace: float = 1.0
    ) -> Options:
        """The same calls with options, which so never meet a function's own keywords.

        Args:
            timeout: seconds that the call may take, from its start over there. Then it is ended,
                and CallTimeout raised.
            cancel: how a call is ended, by its timeout or by `Call.cancel`. "soft": CallCancelled
                is raised in it; if it runs on for `grace` seconds, the worker is killed. "kill":
                the worker is killed at once. "abandon": it runs on, and its answer is dropped.
            grace: for "soft". It is kept by whoever waits for something from this client.
        """
        return Options(self, timeout, cancel, grace)

    # -- events --------------------------------------------------------------------------------

    def events(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the worker's events, each a tuple of what `event` was called with.

        Waits for the next one; ends when the worker has ended.
        """
        queue = self._session.events
        while True:
            while queue:
                yield self._session.load(queue.popleft())
            if self._session.ended is not None and not queue:
                return
            self._wait_for(lambda: bool(queue))

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Make no more calls: the worker answers what it was asked for, and then ends."""
        if self._foreign:
            self._sock.close()
            return
        self._close_calls()

    def join(self, timeout: float | None = None) -> int:
        """Close, and wait until the worker is gone.

        Args:
            timeout: seconds to wait at most.

        Returns:
            Its exit status, or minus the signal's number.

        Raises:
            TimeoutError: it still lives.
            ProcessLost: nobody can know how it ended, since its template was killed.

        From AnyEvent::Fork::RPC's `on_destroy`.
        """
        self._check()
        self.close()
        deadline = None if timeout is None else monotonic() + timeout
        if not self._wait_for(lambda: False, deadline):
            raise TimeoutError(f"{self._process!r} still lives after {timeout} seconds")
        self._sock.close()  # first: nobody may know how it ended
        left = None if deadline is None else max(0.0, deadline - monotonic())
        return self._process.wait(left)

    def kill(self) -> None:
        """Kill the worker at once; open calls end with WorkerDied."""
        self._kill_worker()

    def __enter__(self) -> Client:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.join()

    def __del__(self) -> None:
        sock = getattr(self, "_sock", None)
        if sock is not None:
            sock.close()  # the worker sees that nobody is there any more


def _after_fork_in_child() -> None:
    """In the host's own child: the clients are its parent's."""
    parent = os.getppid()
    for client in list(_ALL):
        client._disown(parent)
    _ALL.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)

for _public in (Call, Client, Options, Stream):
    _public.__module__ = "earlyfork.rpc"  # where users import them from
