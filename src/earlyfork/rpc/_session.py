"""The client's state, without I/O: which calls are open, what they are called, how each one ends.

Shared by the drivers: threads in `_client`, event loops in `earlyfork.aio`. It is longer than
others, since all of it is about one table of calls.
"""

from __future__ import annotations

import sys
from _pickle import dumps, loads
from collections import deque
from itertools import islice
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any

from earlyfork import Process, ProcessStateError, ProtocolError
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._errors import CallCancelled, CallTimeout, LostCall, WorkerDied
from earlyfork.rpc._names import name_of
from earlyfork.rpc._options import check_client
from earlyfork.rpc._values import MAIN, dump, inside, load, unpack_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from earlyfork.rpc._board import Place
    from earlyfork.rpc._wire import Frame

#: The frames that end a call.
ENDS = frozenset((wire.RESULT, wire.ERROR, wire.CANCELLED))


class Slot:
    """One call, until its answer is fetched. What is rarely set has its default on the class."""

    #: The frame that ends the call.
    message: Frame | None = None
    #: Whether somebody is to be told of the end, by `arrived`.
    watched = False
    #: The function, or its name.
    function: Any = ""
    #: None: it may have begun.
    begun: bool | None = None
    #: Seconds that it may take from its start; when they are over; when its worker is killed.
    limit: float | None = None
    deadline: float | None = None
    kill_at: float | None = None
    policy: str = "soft"
    grace: float = 1.0
    #: Why it is being ended, if it is.
    reason = ""
    #: When it is signalled again, and how long after that.
    signal_at: float | None = None
    signal_pause: float = 0.01
    ident = 0
    is_stream = False
    #: Whether something goes ahead of it: its time limit, or the credit of a stream.
    goes_before = False
    #: How many items of a stream may be on their way.
    window = 16
    items: deque[Frame]

    @property
    def name(self) -> str:
        """What the call is called in messages."""
        function = self.function
        return str(function if isinstance(function, str) else getattr(function, "__qualname__", ""))

    def arrived(self) -> None:
        """The call has ended, or has brought an item."""


class _ByValue:
    """A function that the worker can't find by its name, and gets as what it consists of."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle  # type: ignore[import-not-found, import-untyped, unused-ignore]

        return cloudpickle.loads, (cloudpickle.dumps(self.function, protocol=5),)


class Session:
    """All calls of one client. Every method is to be called by one thread at a time."""

    #: Unpickles what the worker sends; and whether that is on another machine.
    loads: Callable[..., Any] = staticmethod(loads)
    is_far: bool = False
    #: Where these calls can be seen from outside, if they are to be seen.
    place: Place | None = None

    def __init__(self, *, has_main: bool, has_target: bool, concurrency: int) -> None:
        self.has_main = has_main
        self.has_target = has_target
        self.concurrency = concurrency
        #: Open calls by their ids, in order.
        self.calls: dict[int, Slot] = {}
        #: The last one of which an end was told, and the last whose end nobody is told (posted or
        #: abandoned). If the second is later, the worker may be busy with what is not in `calls`.
        self.answered: int = 0
        self.silent: int = 0
        #: The last call before the last frame that was none.
        self.told = 0
        #: Those of them that have a deadline, or are being ended.
        self.timed: dict[int, Slot] = {}
        self.last = 0
        #: The numbers of functions, and what the worker has not been told of them.
        self.refs: dict[Any, int] = {}
        self.news: bytes = b""
        self.events: deque[Frame] = deque()
        self._last_event = self._last_item = 0
        #: Why no call can be made any more; empty as long as some can.
        self.closed: str = ""
        #: The frame that all calls end with, once the worker is gone.
        self.ended: WorkerDied | None = None
        self.failure: bytes | None = None
        self.retired: bool = False

    def suit(self, process: Process) -> None:
        """Send and take what suits where the process is."""
        self.is_far = process.is_far
        if not process.trusted:
            from earlyfork.rpc import _plain

            self.loads = _plain.loads

    def load(self, frame: Frame) -> Any:
        """The value that a frame brings."""
        return load(frame, self.loads)

    def dump(self, value: object) -> tuple[bytes, Any, Any]:
        """A value as it travels; see `_values.dump`.

        Raises:
            TypeError: it has files, and the worker is on another machine.
        """
        found = dump(value, has_main=self.has_main)
        if self.is_far and found[2]:
            wire.Fds(found[2]).close()
            raise TypeError("no files can be passed to another machine")
        return found

    # -- asking --------------------------------------------------------------------------------

    def refer(self, function: Any) -> int:
        """The number that a function has from now on; 0 if it travels by value.

        Raises:
            TypeError, ValueError: it is no function, or can't be found over there.
        """
        name = name_of(function, has_main=self.has_main, has_target=self.has_target)
        if name is None:
            return 0
        found = self.refs.get(name)
        if found is None:
            found = len(self.refs) + 1
            self.news += wire.head(wire.DEFINE, ref=found, body=name.encode())
            self.refs[name] = found
        if len(self.refs) < 4096:
            try:
                if function.__hash__ is not None:
                    self.refs[function] = found
            except (AttributeError, TypeError):
                return found
        return found

    def pack(self, function: Any, args: Any, kwargs: Any) -> tuple[int, bytes, Any, Any]:
        """A call's function number, body, buffers and fds.

        Raises:
            Exception: whatever the pickling of an argument raises; nothing is sent then.
        """
        try:
            ref = self.refs[function]
        except (KeyError, TypeError):
            ref = self.refer(function)
        if ref and "multiprocessing.connection" not in sys.modules:
            value: Any = [args, kwargs] if kwargs else args  # a list tells them apart
            try:
                body = dumps(value, 5, buffer_callback=inside)
            except Exception:  # `dump` finds out whether there is another way
                return ref, *self.dump([args, kwargs])
            if self.has_main or MAIN not in body:
                return ref, body, (), ()
        if ref:
            return ref, *self.dump([args, kwargs])
        if isinstance(function, FunctionType):
            function = _ByValue(function)
        return 0, *self.dump((function, args, kwargs))

    def may_run(self, ident: int) -> bool:
        """Whether this is one of the calls that the worker may have begun."""
        slot = self.calls.get(ident)
        if slot is None or slot.is_stream:  # between its items a stream lets others run
            return slot is not None
        ones = (other for other, slot in list(self.calls.items()) if not slot.is_stream)
        return ident in islice(ones, self.concurrency)

    def _begun(self, ident: int, slot: Slot, *, unread: bool | None) -> bool | None:
        """Whether a call had begun when the worker died. See `end`."""
        if slot.begun or self.failure is not None or not self.may_run(ident):
            return slot.begun or False
        if unread is None:
            return None
        if unread:  # the last thing that was sent, and maybe more
            return False if ident == self.last != self.told else None
        return True if self.silent <= self.answered else None

    # -- hearing -------------------------------------------------------------------------------

    def hear_ends(self, frames: Iterable[Frame]) -> None:
        """Take in frames that end calls."""
        calls = self.calls
        for frame in frames:
            ident = frame[2]
            slot = calls.get(ident)
            if slot is not None:  # else it was abandoned
                slot.message = frame
                calls.pop(ident, None)
                self.answered = ident
                if slot.watched:
                    slot.arrived()
                if self.timed:
                    self.timed.pop(ident, None)
        if self.place is not None:
            self.place.show(self)

    def hear(self, frame: Frame) -> None:
        """Take in a frame. The same one may come twice, after an interruption.

        Raises:
            ProtocolError: this frame is none of a worker's.
        """
        kind, ident = frame[0], frame[2]
        if kind in ENDS:
            self.hear_ends((frame,))
            return
        slot = self.calls.get(ident)
        if kind == wire.ITEM:
            if frame[1] != self._last_item and slot is not None and slot.is_stream:
                slot.items.append(frame)
                self._last_item = frame[1]
                if slot.watched:
                    slot.arrived()
        elif kind == wire.EVENT:
            if frame[1] != self._last_event:
                self.events.append(frame)
                self._last_event = frame[1]
        elif kind == wire.BEGUN:
            if slot is not None:
                slot.begun = True
                if slot.limit is not None and slot.deadline is None:
                    slot.deadline = monotonic() + slot.limit
                    self.timed[ident] = slot
        elif kind == wire.RETIRED:
            self.retired = True
            self.closed = self.closed or "its worker has retired"
        elif kind == wire.FAILED:
            self.failure = bytes(frame[3])
        else:
            raise ProtocolError(f"a worker sends no frame of kind {kind}")

    # -- ending --------------------------------------------------------------------------------

    def end(
        self,
        pid: int | None,
        returncode: int | None,
        stderr: str,
        why: str = "",
        *,
        unread: bool | None = None,
    ) -> None:
        """The worker is gone: end all calls that it has not answered.

        Args:
            pid: the worker's, if that is known.
            returncode: how it ended, if that is known.
            stderr: its last words.
            why: what it was ended for by us.
            unread: whether it has left something unread of what was sent to it; None: nobody knows.
        """
        if self.ended is None:
            lost = tuple(
                LostCall(ident, slot.name, self._begun(ident, slot, unread=unread))
                for ident, slot in self.calls.items()
            )
            if why:
                how = why
            elif returncode is None:
                how = "is lost: nobody can know how it ended"
            elif returncode < 0:
                how = f"was ended by signal {-returncode}"
            else:
                how = f"ended with status {returncode}"
            text = f"worker {pid} {how}"
            if self.failure is not None:
                what = (
                    "init failed, or its target was not found" if self.has_target else "init failed"
                )
                text = f"worker {pid} did not begin, since its {what}"
            self.ended = WorkerDied(text, pid, returncode, lost, None, stderr)
            self.closed = self.closed or text
        while self.calls:
            ident, slot = next(iter(self.calls.items()))
            slot.message = (wire.DIED, 0, ident, self.ended, (), ())
            self.calls.pop(ident, None)
            self.timed.pop(ident, None)
            if slot.watched:
                slot.arrived()
        if self.place is not None:
            self.place.show(self)

    def refusal(self) -> Exception:
        """Why no call can be made."""
        if self.ended is not None:
            return self.death(0)
        return ProcessStateError(f"no call can be made: {self.closed}")

    def death(self, ident: int) -> WorkerDied:
        """A fresh WorkerDied for one call."""
        ended = self.ended
        assert ended is not None
        begun = next((call.begun for call in ended.calls if call.id == ident), False)
        found = WorkerDied(
            *(ended.args[0], ended.pid, ended.returncode, ended.calls, begun, ended.stderr)
        )
        if self.failure is not None:
            found.__cause__ = unpack_error(self.failure, self.loads)
        return found

    def outcome(self, slot: Slot) -> Any:
        """What a call that has ended gives.

        Raises:
            CallTimeout, CallCancelled: it was ended.
            WorkerDied: its worker was gone before it answered.
            BaseException: what the function raised.
        """
        frame = slot.message
        assert frame is not None
        kind = frame[0]
        if slot.reason == "timeout":
            raise CallTimeout(f"{slot.name or 'a call'} took more than {slot.limit} s")
        if slot.reason or kind == wire.CANCELLED:
            raise CallCancelled(f"{slot.name or 'a call'} was cancelled")
        if kind == wire.RESULT:
            return self.load(frame)
        if kind == wire.ERROR:
            raise unpack_error(frame[3], self.loads)
        raise self.death(frame[2])


def begin(
    process: Any, target: Any, init: Any, concurrency: Any, window: Any, on_event: Any
) -> tuple[Session, bytes]:
    """The state of a client's calls, and what its worker is told first.

    Raises:
        TypeError, ValueError: what the client was given means nothing.
    """
    check_client(process, concurrency, window, on_event)
    has_main = process.has_main
    body = hello(target, init, concurrency, has_main=has_main)
    has_target = target is not None
    state = Session(has_main=has_main, has_target=has_target, concurrency=concurrency)
    if has_target or init is not None:
        state.answered = -1  # until then the worker may be busy with its beginning
    state.suit(process)
    return state, body


def hello(target: Any, init: Any, concurrency: int, *, has_main: bool) -> bytes:
    """What a worker is told first: its settings, as a body.

    Raises:
        TypeError, ValueError: target or init can't be found over there.
    """
    if target is not None and not isinstance(target, str):
        name = getattr(target, "__name__", "")
        home = getattr(target, "__module__", None)
        if not name:
            raise TypeError(
                f"a target is a module, a class or the name of an object, not {target!r}"
            )
        target = f"{home}:{target.__qualname__}" if isinstance(target, type) else name
    by_value = b""
    if init is not None:
        found = name_of(init, has_main=has_main, has_target=False)
        if found is None:
            by_value = dump(init)[0]
        init = found
    return dumps((target, init, by_value, concurrency), 5)
