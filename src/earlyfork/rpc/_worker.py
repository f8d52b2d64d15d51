"""The worker's half: reads calls, runs them one after the other, and answers.

It is loaded in each worker, so it must not import what is expensive. With a concurrency above 1,
`_tasks` does the running.

It is longer than others, since calls, signals and streams meet in one loop. The main thread runs
the calls. A signal (SIGURG, which does nothing to whoever does not expect it)
says that a frame has come that should be read while a call runs: the handler reads what is there,
and raises CallCancelled if that call is meant.
"""

from __future__ import annotations

import _signal
import sys
from _pickle import dumps, loads
from collections import deque
from posix import close, dup2, register_at_fork
from sys import modules
from time import monotonic

from earlyfork.rpc import _wire as wire
from earlyfork.rpc._streams import Stream
from earlyfork.rpc._there import (
    COROUTINE,
    Current,
    Here,
    exposed,
    find,
    find_target,
    imports_something,
)
from earlyfork.rpc._values import HasLarge, dump, inside, load, pack_error
from earlyfork.rpc._wire import CALL, CHUNK, FLAG, NOSIGNAL, RESULT, SPACE, pack_plain, single

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from earlyfork.rpc._wire import Frame


_FLAGS = (NOSIGNAL,)


class Later:
    """A function that is looked up when it is first called."""

    def __init__(self, worker: Worker, ref: int, name: str) -> None:
        self.worker = worker
        self.ref = ref
        self.name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.found()(*args, **kwargs)

    def found(self) -> Callable[..., Any]:
        """The function itself, which takes the place of this."""
        function: Callable[..., Any] = self.worker.resolve(self.name)
        self.worker.functions[self.ref] = function
        return function


class Worker:
    """One client's worker: the engine, and the running of one call at a time."""

    def __init__(self, sock: Any, given: tuple[object, ...]) -> None:
        self.sock = sock
        self.given = given
        self.inbox = wire.Inbox()
        self.outbox = wire.Outbox()
        self.queue: deque[Frame] = deque()
        self.functions: dict[int, Any] = {}
        self.target: Any = None
        self.has_target = False
        self.concurrency = 1
        #: The call whose function runs in the main thread; 0: none, or it was told to end already.
        self.running = 0
        self.deadline: float | None = None
        #: Whether the main thread is in the middle of a frame, and must not be interrupted there.
        self.busy = False
        #: Whether something may have come that was not looked at.
        self.look = False
        #: Whether nothing but calls comes, one by one.
        self.usual = True
        self.limits: dict[int, float] = {}
        self.cancelled: set[int] = set()
        self.streams: dict[int, Stream] = {}
        #: Streams whose client has broken off: they are closed before more calls run.
        self.to_close: deque[Stream] = deque()
        self.counted = 0
        self.closing = False
        self.retiring = False
        self.loop: Any = None
        self.interrupted = False

    # -- the life of a worker ------------------------------------------------------------------

    def serve(self, serve_all: Callable[[Worker], None]) -> None:
        """Begin, and serve until the client closes, or is gone."""
        Here.worker = self
        self.sock.settimeout(None)
        register_at_fork(after_in_child=self.forked)
        while (frame := self.inbox.peek()) is None:
            if not self.inbox.read(self.sock):
                return
        self.inbox.state = self.inbox.after
        _signal.signal(_signal.SIGURG, self.on_signal)
        _signal.signal(_signal.SIGINT, self.on_interrupt)
        if frame[0] != wire.HELLO:
            raise RuntimeError("this worker's client speaks another protocol")
        if not self.begin(frame):
            return
        try:
            serve_all(self)
        except (BrokenPipeError, ConnectionResetError):
            if self.sock is not None:  # nobody is there to be told anything
                return
            raise

    def begin(self, frame: Frame) -> bool:
        """Find the target and run `init`; False if that failed."""
        try:
            if frame[5]:  # the client has its stderr read
                fd = frame[5][0].take(0)
                dup2(fd, 2)
                close(fd)
            target, init, by_value, self.concurrency = loads(frame[3])
            if target is not None:
                self.target = find_target(target)
                self.has_target = True
            function = loads(by_value) if by_value else init and find(init)
            if function:
                result = function(*self.given)
                if type(result) is COROUTINE:
                    self.wait_for(result)
        except BaseException as error:
            if self.sock is not None:
                self.send(wire.FAILED, 0, 0, pack_error(error))
            raise
        self.given = ()
        return self.sock is not None

    def run_all(self) -> None:
        """Run what comes, one call after the other."""
        queue, inbox = self.queue, self.inbox
        while self.sock is not None:
            if not inbox.is_empty:
                self.take()
            while queue:
                while self.to_close:
                    self.to_close.popleft().step()
                self.run(queue.popleft())
                if self.look:
                    self.drain()
                elif self.streams and queue:
                    self.step()
            if self.sock is None:
                return
            if self.streams or self.closing or self.retiring:
                if not self.goes_on():
                    return
            elif not (self.run_singles() if inbox.is_empty else inbox.read(self.sock)):
                return

    def run_singles(self) -> bool:
        """Run calls as long as they come one by one, and nothing else comes; False at the end."""
        inbox, recvmsg = self.inbox, self.sock.recvmsg
        self.usual = True
        while self.usual:
            record = recvmsg(CHUNK, SPACE, FLAG)
            frame = single(record)
            if frame is None or frame[0] != CALL:
                inbox.state[2].append(record)
                return len(record[0]) > 0
            self.run(frame)
            if self.look:
                self.drain()
        return True

    def goes_on(self) -> bool:
        """With nothing in the queue: run what else there is, or wait; False at the end."""
        assert self.sock is not None
        if self.streams and self.step():
            self.drain()
            return True
        if self.closing and not self.streams:
            return False
        if self.retiring:
            self.drain()
            return bool(self.queue or self.streams)
        return self.inbox.read(self.sock)

    def take(self) -> None:
        """Queue the frames that were read."""
        inbox = self.inbox
        while True:
            self.queue.extend(inbox.row(CALL))
            inbox.state = left = inbox.after
            if left[1] == len(left[0]) and left[4] is None and not left[2]:
                return
            frame = inbox.peek()
            if frame is None:
                return
            inbox.state = inbox.after
            kind = frame[0]
            if kind == CALL or kind == wire.POST or kind == wire.STREAM:  # noqa: PLR1714 - speed
                self.queue.append(frame)
            else:
                self.heed(kind, frame)

    def heed(self, kind: int, frame: Frame) -> None:
        """Obey a frame that is no call."""
        _, ref, ident, body, _, _ = frame
        if kind == wire.DEFINE:
            self.functions[ref] = Later(self, ref, bytes(body).decode())
        elif kind == wire.LIMIT:
            self.limits[ident] = loads(body)
        elif kind == wire.CREDIT:
            self.credit(ident, ref)
        elif kind == wire.CANCEL:
            self.cancel(ident)
        elif kind == wire.CLOSE:
            self.closing = True
        else:
            raise RuntimeError(f"a client sends no frame of kind {kind}")

    def cancel(self, ident: int) -> None:
        """End a call, be it queued, or a stream; one that runs is ended by the signal's handler."""
        if any(frame[2] == ident for frame in self.queue) or ident == self.running:
            self.cancelled.add(ident)
        elif ident in self.streams:
            self.streams[ident].cancelled = True
            self.to_close.append(self.streams[ident])

    def credit(self, ident: int, number: int) -> None:
        """Let a stream send so many items more; what comes before its call is kept for it."""
        stream = self.streams.get(ident)
        if stream is not None:
            stream.credit += number
        else:
            self.limits[-ident] = self.limits.get(-ident, 0) + number

    # -- signals -------------------------------------------------------------------------------

    def on_signal(self, _number: int, frame: Any) -> None:
        """Read what has come while a call runs, and end that call if it is meant.

        The client sends the signal again as long as the call runs on.
        """
        if self.busy or not self.running:
            self.look = True
            return
        self.drain()
        ident = self.running
        if ident in self.cancelled and not imports_something(frame):
            self.cancelled.discard(ident)
            self.running = 0  # told once: what it does in `finally` is left alone
            from earlyfork.rpc._errors import CallCancelled

            raise CallCancelled("the caller has cancelled this call")

    def on_interrupt(self, number: int, frame: object) -> None:
        """Ctrl-C goes to the whole group: it is for the call that runs, and not for this worker."""
        if self.running and not self.busy:
            _signal.default_int_handler(number, frame)
        elif self.running:
            self.interrupted = True

    def drain(self) -> None:
        """Read what is there, without waiting."""
        busy, self.busy = self.busy, True
        self.look = self.usual = False
        try:
            while self.sock is not None and self.inbox.read(self.sock, wire.DONTWAIT):
                self.take()
        except BlockingIOError:
            self.take()
        finally:
            self.busy = busy

    def forked(self) -> None:
        """In a child of this worker: the calls are the parent's."""
        sock, self.sock, self.usual = self.sock, None, False
        self.queue.clear()
        self.streams.clear()
        if sock is not None:
            sock.close()

    # -- running -------------------------------------------------------------------------------

    def function_of(self, frame: Frame) -> tuple[Any, Any, Any]:
        """The function of a call, with its arguments."""
        ref = frame[1]
        if not ref:
            if self.has_target:
                raise AttributeError("functions of this worker's target alone can be called")
            found: tuple[Any, Any, Any] = load(frame)
            return found
        function = self.functions[ref]
        value = load(frame)
        if type(value) is tuple:
            return function, value, {}
        args, kwargs = value
        return function, args, kwargs

    def begun(self, ident: int) -> None:
        """Tell the client that a call which has a time limit begins."""
        limit = self.limits.pop(ident, None)
        self.deadline = None
        if limit is not None:
            if limit < float("inf"):
                self.deadline = monotonic() + limit
            self.send(wire.BEGUN, ident, 0, b"")

    def run(self, frame: Frame) -> None:
        """Run one call, and answer."""
        kind, ref, ident, body, buffers, fds = frame
        if self.cancelled and ident in self.cancelled:
            self.cancelled.discard(ident)
            self.limits.pop(ident, None)
            self.limits.pop(-ident, None)
            self.send(wire.CANCELLED, ident, 0, b"")
            return
        if self.limits:
            self.begun(ident)
        try:
            self.running = ident
            if self.look:
                self.on_signal(0, None)
            if not ref or fds:
                function, args, kwargs = self.function_of(frame)
                result = function(*args, **kwargs)
                del args, kwargs  # files in it, say
            else:  # the usual case of that
                value = loads(body, buffers=buffers) if buffers else loads(body)
                function = self.functions[ref]
                if type(value) is tuple:
                    result = function(*value)
                else:
                    result = function(*value[0], **value[1])
                del value
            if type(result) is COROUTINE:
                result = self.wait_for(result)
            self.running = 0
            if self.sock is None:  # a child that the function forked has come back from it
                return
            if kind == CALL:
                self.answer(ident, result)
            elif kind == wire.STREAM:
                self.streams[ident] = Stream(self, ident, result)
        except BaseException as error:
            self.running = 0
            self.cancelled.discard(ident)
            if self.sock is None:  # a child that the function forked
                raise
            self.fail(kind, ident, error)

    def wait_for(self, coroutine: Any) -> Any:
        """Run a coroutine to its end, in the loop that this worker keeps for that."""
        import asyncio

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(coroutine)
        try:
            return self.loop.run_until_complete(task)
        except BaseException:
            if not task.done():  # raised by a signal's handler, in the loop itself
                task.cancel()
                try:
                    self.loop.run_until_complete(task)
                except BaseException as inner:
                    if not isinstance(inner, asyncio.CancelledError):
                        raise
            raise

    def fail(self, kind: int, ident: int, error: BaseException) -> None:
        """Answer with an error."""
        if kind == wire.POST:
            sys.excepthook(type(error), error, error.__traceback__)
            return
        names = sys.modules.get("earlyfork.rpc._errors")
        if names is not None and isinstance(error, names.CallCancelled):
            self.send(wire.CANCELLED, ident, 0, b"")
            return
        self.send(wire.ERROR, ident, 0, pack_error(error))

    def answer(self, ident: int, result: object) -> None:
        """Answer with a result; with an error, if that can't be pickled."""
        try:
            if "multiprocessing.connection" in modules:
                raise HasLarge
            body = dumps(result, 5, buffer_callback=inside)
        except Exception:
            self.send(wire.RESULT, ident, 0, *dump(result))
            return
        queue = self.outbox.queue
        if queue or self.sock is None or self.busy:
            self.send(wire.RESULT, ident, 0, body)
            return
        # The usual case of `send`.
        data = pack_plain(RESULT, 0, ident, len(body)) + body
        counts = [0]
        try:
            self.busy = True
            queue.append([data, None, counts])
            counts.extend(map(self.sock.send, (data,), _FLAGS))
            if counts[1] == len(data):
                queue.popleft()
            else:
                self.write_all()
        finally:
            self.busy = False

    # -- sending -------------------------------------------------------------------------------

    def send(
        self, kind: int, ident: int, ref: int, body: bytes, buffers: Any = (), fds: Any = ()
    ) -> None:
        """Send a frame, waiting as long as the client does not read.

        A client that writes reads as well, so this never waits for a client that waits for it.

        Raises:
            BrokenPipeError: nobody is there, or this is a child of the worker.
        """
        if self.sock is None:
            raise BrokenPipeError("this process was forked by a worker, and has no client")
        busy, self.busy = self.busy, True
        try:
            outbox = self.outbox
            if buffers or fds:
                outbox.put(kind, ident, ref, body, buffers, fds)
            else:
                packet = pack_plain(kind, ref, ident, len(body)) + body
                outbox.queue.append([packet, None, [0]])
            self.write_all()
        finally:
            self.busy = busy
        if self.running and not busy:
            if self.interrupted:
                self.interrupted = False
                raise KeyboardInterrupt
            if self.look:
                self.on_signal(0, None)

    def write_all(self) -> None:
        """Write what is left."""
        while not self.outbox.write(self.sock, wire.NOSIGNAL):
            continue

    def event(self, args: tuple[object, ...]) -> None:
        """Send an event."""
        body, buffers, fds = dump(args)
        self.counted += 1
        self.send(wire.EVENT, 0, self.counted & 0xFFFFFFFF, body, buffers, fds)

    def flush(self) -> None:
        """Nothing is kept back here: `send` has handed all to the system."""

    def retire(self) -> None:
        """End when all that has come so far is answered."""
        self.retiring = True
        self.usual = False
        self.send(wire.RETIRED, 0, 0, b"")

    def current(self) -> Current | None:
        """The call that runs."""
        return Current(self.running, self.deadline) if self.running else None

    # -- streams -------------------------------------------------------------------------------

    def step(self) -> bool:
        """Have the next stream that may go on do so; False if none may."""
        for ident, stream in self.streams.items():
            if stream.credit > 0 or stream.cancelled:
                del self.streams[ident]
                self.streams[ident] = stream  # the others come first next time
                stream.step()
                return True
        return False

    # -- names ---------------------------------------------------------------------------------

    def resolve(self, name: str) -> Any:
        """The function that a name means.

        Raises:
            AttributeError, ImportError: there is none, or it is not exposed.
            TypeError: it can't be called.
        """
        function = exposed(self.target, name) if self.has_target else find(name)
        if not callable(function):
            raise TypeError(f"{name} can't be called: it is of type {type(function).__name__}")
        return function
