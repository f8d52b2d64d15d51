"""How a client's threads write, read and wait; `Client` is this with its public methods.

No thread of ours runs here unless callbacks are asked for (`_reader`). Of the threads that wait,
one reads (it *leads*) and hands the others their answers; when it has its own, another one leads.
Whoever writes reads as well when there is no room to write.

It is longer than others, since all of it is about one lock for writing and one for reading.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
from _pickle import dumps
from collections import deque
from concurrent import futures
from functools import cache
from sys import modules
from time import monotonic
from typing import TYPE_CHECKING, Any

from earlyfork import ProcessLost, ProcessStateError, ProtocolError, TemplateDied
from earlyfork.rpc import _reader, _session
from earlyfork.rpc import _wire as wire
from earlyfork.rpc._values import MAIN, HasLarge, inside
from earlyfork.rpc._wire import (
    CHUNKS,
    DONTWAIT,
    FLAGS,
    NOSIGNAL,
    RESULT,
    SPACES,
    pack_plain,
    single,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork import Process
    from earlyfork.rpc._session import Slot

_WRITE = DONTWAIT | NOSIGNAL
_WRITES = (_WRITE,)
#: To read what is there, without waiting.
LOOK = (FLAGS[0] | DONTWAIT,)


@cache
def tells_unread() -> bool:
    """Whether the kernel tells that a peer has ended and has not read all: Linux does."""
    near, far = socket.socketpair()
    with near:
        near.send(b"?")
        far.close()
        try:
            return bool(near.recv(1))
        except ConnectionResetError:
            return True


class Waiting(_session.Slot):
    """A call that a thread of its own waits for."""

    gate: threading.Lock | None = None

    def arrived(self) -> None:
        open_gate(self.gate)


def open_gate(gate: Any) -> None:
    """Let the thread go on that waits at a gate."""
    try:
        if gate is not None:
            gate.release()
    except RuntimeError:  # it was opened before, and this frame was heard twice
        return


class Items(Waiting):
    """A stream, and what has come of it."""

    is_stream = goes_before = True

    def __init__(self) -> None:
        self.items = deque()


class Line:
    """The socket to one worker, and the threads that use it."""

    _sock: Any

    def __init__(
        self,
        process: Process,
        session: _session.Session,
        window: int,
        on_event: Callable[..., object] | None,
    ) -> None:
        self._process = process
        self._session = session
        self._window = window
        self._on_event = on_event
        self._inbox = wire.Inbox()
        self._outbox = wire.Outbox()
        #: Held by who writes, and by who reads.
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._reader_leads = False
        self._followers: deque[threading.Lock] = deque()
        self._callbacks: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._calling_back = threading.Lock()
        self._dropped: deque[Slot] = deque()
        self._close_sent = False
        self._lookers: deque[threading.Lock] = deque()
        self._delivering = False
        self._wanting: set[Any] = set()
        self._foreign = 0
        self._pid: int | None = None
        #: What reads the worker's stderr, if somebody does.
        self._kept: Any = None
        #: Whether the worker has ended, and has not read all that was sent.
        self._unread = False

    # -- sending -------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._foreign:
            raise ProcessStateError(
                f"this client belongs to process {self._foreign}, of which this one is a fork; "
                "make another one here"
            )

    def _begin(self, slot: Slot | None, kind: int, fn: Any, args: Any, kwargs: Any) -> None:
        """Send a call. Of an interrupted one either all is on its way or nothing was sent."""
        state = self._session
        if state.closed:
            self._check()
            self._wait_for_the_end_if_lost()
            raise state.refusal()
        large: Any = None
        try:  # the usual case of `pack`
            ref = state.refs[fn]
            if "multiprocessing.connection" in modules:
                raise HasLarge
            body = dumps([args, kwargs] if kwargs else args, 5, buffer_callback=inside)
            if MAIN in body and not state.has_main:
                raise HasLarge
        except Exception:
            ref, body, *large = state.pack(fn, args, kwargs)
        calls = state.calls
        if len(calls) >= self._window:
            self._wait_for_room(large)
        with self._writing:
            state.last = ident = state.last + 1
            before = state.news
            if slot is not None:
                if slot.goes_before:
                    before += self._prelude(slot, ident)
                slot.function = fn
                slot.ident = ident
            else:
                state.silent = ident
            queue = self._outbox.queue
            # First the packet, then its slot: when this is interrupted, nothing waits for a call
            # that is never sent.
            if large:
                self._outbox.put(kind, ident, ref, body, large[0], large[1], before)
                if slot is not None:
                    calls[ident] = slot
            else:
                data = pack_plain(kind, ref, ident, len(body)) + body
                if before:
                    data = before + data
                counts = [0]
                queue.append([data, None, counts])
                if slot is not None:
                    calls[ident] = slot
                if queue[0][2] is counts:  # the usual case of `Outbox.write`
                    try:
                        counts.extend(map(self._sock.send, (data,), _WRITES))
                        if counts[1] == len(data):
                            queue.popleft()
                    except OSError as error:
                        self._hindered(error)
            if before:
                state.news = b""
            if queue:
                self._write_rest()
            if state.place is not None:  # after it is sent: meanwhile the worker works
                state.place.show(state)
            if state.ended is not None:
                state.end(None, None, "")
        if self._dropped:
            self._forget_dropped()

    def _wait_for_room(self, large: Any) -> None:
        """Wait until a call has been answered, before one more is sent."""
        state = self._session
        try:
            self._wait_for(lambda: len(state.calls) < self._window)
            if state.ended is not None:
                raise state.refusal()
        except BaseException:
            if large:
                wire.Fds(large[1]).close()
            raise

    def _hello(self, body: bytes) -> None:
        """Send what a worker is told first."""
        with self._writing:
            fds = [self._kept.take()] if self._kept is not None else []
            self._outbox.put(wire.HELLO, 0, 0, body, (), fds)
            self._write_rest()

    def _prelude(self, slot: Slot, ident: int) -> bytes:
        """What goes before a call that has a time limit, or is a stream."""
        found = b""
        if slot.is_stream:
            found += wire.head(wire.CREDIT, ident, slot.window)
        if slot.limit is not None:
            found += wire.head(wire.LIMIT, ident, body=dumps(float(slot.limit), 5))
        return found

    def _tell(self, kind: int, ident: int, ref: int, body: bytes = b"") -> None:
        """Send a frame that is no call."""
        with self._writing:
            self._session.told = self._session.last
            self._outbox.queue.append([wire.head(kind, ident, ref, body), None, [0]])
            self._write_rest()

    def _close_calls(self) -> None:
        """Begin no more calls; the worker ends when it has answered those that were."""
        state = self._session
        state.closed = state.closed or "the client is closed"
        if not self._close_sent and state.ended is None:
            self._close_sent = True
            self._tell(wire.CLOSE, 0, 0)

    def _kill_worker(self) -> None:
        """Begin no more calls, and kill the worker."""
        state = self._session
        state.closed = state.closed or "its worker was killed"
        if state.ended is None:
            self._process.kill()

    def _hindered(self, error: OSError) -> bool:
        """A write has failed: for want of room, or since nobody reads, which reading tells."""
        if isinstance(error, BlockingIOError):
            return False
        if isinstance(error, (BrokenPipeError, ConnectionResetError)):
            self._unread = True
            self._outbox.queue.clear()
            return True
        raise error

    def _write_rest(self) -> None:
        """Write all that is left, and read meanwhile. The caller holds `_writing`."""
        while self._outbox.queue:
            try:
                if self._outbox.write(self._sock, _WRITE):
                    return
            except OSError as error:
                if self._hindered(error):
                    return
                leads = self._reading.acquire(blocking=False)
                try:
                    events = select.POLLOUT | (select.POLLIN if leads else 0)
                    poller = select.poll()
                    poller.register(self._sock.fileno(), events)
                    # Another thread may stop reading meanwhile: then it is this one's turn.
                    found = poller.poll(None if leads else 20)
                    if leads and found and found[0][1] & ~select.POLLOUT:
                        self._read_once(now=True)
                finally:
                    if leads:
                        self._stop_leading()

    def _forget(self, slot: Slot) -> None:
        """Drop what comes for a call."""
        state = self._session
        state.silent = max(state.silent, slot.ident)
        state.calls.pop(slot.ident, None)
        state.timed.pop(slot.ident, None)
        if state.place is not None:
            state.place.show(state)

    def _forget_dropped(self) -> None:
        while self._dropped:
            slot = self._dropped.popleft()
            self._forget(slot)
            if slot.is_stream and slot.message is None:
                self._tell(wire.CANCEL, slot.ident, 0)

    # -- reading -------------------------------------------------------------------------------

    def _hear_all(self) -> bool:
        """Deal with the frames that were read; whether there were any."""
        inbox, state = self._inbox, self._session
        heard = False
        try:
            while True:
                ends = inbox.row(RESULT)
                state.hear_ends(ends)
                inbox.state = left = inbox.after
                heard = heard or bool(ends)
                if left[1] == len(left[0]) and left[4] is None and not left[2]:
                    break
                frame = inbox.peek()
                if frame is None:
                    break
                state.hear(frame)
                inbox.state = inbox.after
                heard = True
                if state.events and self._on_event is not None:
                    self._deliver()
        except (wire.BadFrame, ProtocolError) as error:
            self._session.failure = None
            self._end(f"was killed, since it said what no worker says: {error}")
        return heard

    def _deliver(self) -> None:
        """Call `on_event` for what has come. Its errors are told, and stop nothing."""
        events = self._session.events
        assert self._on_event is not None
        if self._delivering:  # it makes a call itself: what that one reads comes after
            return
        self._delivering = True
        try:
            while events:
                try:
                    self._on_event(*self._session.load(events.popleft()))
                except Exception:
                    futures._base.LOGGER.exception("exception calling on_event of %r", self)
        finally:
            self._delivering = False

    def _read_once(self, *, now: bool = False) -> bool:
        """Read once and deal with it; False at the end. The caller leads."""
        state, inbox = self._session, self._inbox
        if state.ended is not None:
            return False
        left = inbox.state
        fresh = left[2]
        frame = None
        try:
            if left[1] == len(left[0]) and not fresh and left[4] is None:
                fresh.extend(map(self._sock.recvmsg, CHUNKS, SPACES, LOOK if now else FLAGS))
                more = len(fresh[0][0]) > 0
                frame = single(fresh[0])
            elif left[4] is None and self._hear_all():  # whoever read last was interrupted
                return True
            else:
                more = inbox.read(self._sock, DONTWAIT if now else 0)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            more, self._unread = False, True
        if frame is not None and frame[0] == RESULT:
            state.hear_ends((frame,))  # the usual case of `_hear_all`
            fresh.clear()
        else:
            self._hear_all()
            if not more:
                self._end()
        if self._lookers:
            for gate in list(self._lookers):
                open_gate(gate)
        return more

    def _end(self, why: str = "") -> None:
        """The worker is going, or must go: learn how, and end all calls."""
        process = self._process
        returncode: int | None = None
        if why:
            process.kill()
        try:
            try:
                returncode = process.wait(1.0)
            except TimeoutError:  # it has closed its socket, and lives on
                process.kill()
                returncode = process.wait(None)
            self._pid = process.pid
        except (ProcessLost, TemplateDied) as lost:
            self._pid = getattr(lost, "pid", None)
            if process.is_far:
                why = why or f"is lost: {lost}"
        kept = self._kept
        said = "" if kept is None else kept.told(kept.ask())
        self._tell_end(self._pid, returncode, said, why)

    def _tell_end(self, pid: int | None, returncode: int | None, said: str, why: str) -> None:
        """End all calls: the worker is gone. `said` is what is known of its stderr."""
        error = self._process.error
        words = said or (error.remote_traceback if error is not None else "")
        self._kept = None
        knows = tells_unread() and not self._process.is_far  # there a relay reads for the worker
        unread = self._unread or bool(self._outbox.queue) if knows and not why else None
        self._session.end(pid, returncode, words, why, unread=unread)

    def _stop_leading(self) -> None:
        self._reading.release()
        self._hand_on()

    def _hand_on(self) -> None:
        """Let the next thread lead that waits."""
        if self._reader_leads:
            _reader.reader().wake()
            return
        try:
            open_gate(self._followers[0])
        except IndexError:
            return

    def _wait(self, slot: Any, deadline: float | None = None) -> None:
        """Wait until a call has ended.

        Raises:
            TimeoutError: not before the deadline.
        """
        state = self._session
        while slot.message is None:
            if self._foreign:
                self._check()
            if self._reader_leads:
                if self._in_reader:
                    self._lead_as_reader(deadline)
                else:
                    self._follow(slot, deadline)
            elif self._reading.acquire(False):
                try:
                    while slot.message is None:
                        if (state.timed or deadline is not None) and not self._pause(deadline):
                            break
                        self._read_once()
                finally:
                    self._reading.release()
                    if self._followers or self._reader_leads:
                        self._hand_on()
            else:
                self._follow(slot, deadline)
            late = deadline is not None and monotonic() >= deadline
            if late and slot.message is None:
                raise TimeoutError("the call has not ended yet")
        if self._callbacks:
            self._call_back()

    def _follow(
        self, slot: Any, deadline: float | None, done: Callable[[], bool] | None = None
    ) -> None:
        """Wait until another thread has read the answer (or anything), or stops reading."""
        gate = threading.Lock()
        gate.acquire()
        self._followers.append(gate)
        slot.gate = gate
        slot.watched = True
        if done is not None:
            self._lookers.append(gate)
        try:
            if slot.message is not None or (done is not None and done()):
                return
            if self._session.ended is not None:
                return
            if not self._reader_leads and not self._reading.locked():
                return
            earliest = self._earliest(deadline)
            gate.acquire(timeout=-1 if earliest is None else max(0.0, earliest - monotonic()))
            self._see_to_times()
        finally:
            self._followers.remove(gate)
            if done is not None:
                self._lookers.remove(gate)
            # This may have been opened as the next to lead, and leave now.
            if self._followers and not self._reading.locked():
                self._hand_on()

    def _lead_as_reader(self, deadline: float | None) -> None:
        """Read in a callback, in the thread that reads for this client."""
        leads = self._reading.acquire(blocking=False)  # else further up in this thread
        try:
            self._pause(deadline)
            self._read_once(now=True)
        finally:
            if leads:
                self._reading.release()

    def _wait_for(
        self, done: Callable[[], bool], deadline: float | None = None, slot: Any = None
    ) -> bool:
        """Wait until something is so, or the worker has ended; False at the deadline."""
        state = self._session
        while not done() and state.ended is None:
            self._check()
            if self._in_reader:
                self._lead_as_reader(deadline)
            elif not self._reader_leads and self._reading.acquire(blocking=False):
                try:
                    if state.timed or deadline is not None:
                        self._pause(deadline)
                        self._read_once(now=True)
                    else:
                        self._read_once()
                finally:
                    self._stop_leading()
            else:
                self._follow(slot or Waiting(), deadline, done)
            if deadline is not None and monotonic() >= deadline:
                return done() or state.ended is not None
        if self._callbacks:
            self._call_back()
        return True

    def _wait_for_item(self, slot: Items) -> None:
        if not slot.items and slot.message is None:
            self._wait_for(lambda: bool(slot.items) or slot.message is not None, slot=slot)

    def _wait_for_the_end_if_lost(self) -> None:
        """Where a worker is known to go, learn how it ended."""
        if self._session.ended is None:
            self._look()

    def _look(self) -> None:
        """Take in what has arrived, if nobody else does."""
        if self._reader_leads or self._foreign or not self._reading.acquire(blocking=False):
            return
        try:
            poller = select.poll()
            while self._session.ended is None:
                poller.register(self._sock.fileno(), select.POLLIN)
                if not poller.poll(0):
                    break
                self._read_once(now=True)
            self._see_to_times()
        finally:
            self._stop_leading()
        self._call_back()

    # -- time ----------------------------------------------------------------------------------

    def _earliest(self, deadline: float | None) -> float | None:
        times = [] if deadline is None else [deadline]
        for slot in list(self._session.timed.values()):
            if slot.reason:
                if slot.kill_at is not None:
                    times.append(slot.kill_at)
                if slot.signal_at is not None:
                    times.append(slot.signal_at)
            elif slot.deadline is not None:
                times.append(slot.deadline)
        return min(times, default=None)

    def _pause(self, deadline: float | None) -> bool:
        """Wait until there is something to read; see to the calls whose time is up.

        Returns:
            Whether there is something to read. False at the deadline, or when a call's time is up.
        """
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLIN)
        earliest = self._earliest(deadline)
        left = None if earliest is None else max(0, int((earliest - monotonic()) * 1000 + 0.999))
        found = poller.poll(left)
        self._see_to_times()
        return bool(found)

    def _see_to_times(self) -> None:
        """End the calls whose time is up, and kill a worker that does not end one."""
        state = self._session
        if not state.timed:
            return
        now = monotonic()
        for ident, slot in list(state.timed.items()):
            if not slot.reason:
                if slot.deadline is not None and now >= slot.deadline:
                    slot.reason = "timeout"
                    self._end_call(slot)
            elif slot.kill_at is not None:
                if now >= slot.kill_at:
                    slot.kill_at = slot.signal_at = None
                    slot.policy = "kill"
                    self._process.kill()
                elif slot.signal_at is not None and now >= slot.signal_at:
                    self._signal(slot)
            elif slot.policy == "soft" and state.may_run(ident):
                self._signal(slot)

    def _end_call(self, slot: Any) -> None:
        """End one call over there, by its policy."""
        state = self._session
        ident = slot.ident
        if ident not in state.calls or state.ended is not None:
            return
        if slot.policy == "abandon":
            self._forget(slot)
            if slot.reason == "timeout":
                slot.message = (wire.CANCELLED, 0, ident, b"", (), ())
                if slot.watched:
                    slot.arrived()
            return
        state.timed[ident] = slot
        if slot.policy == "kill":
            self._process.kill()
            return
        self._tell(wire.CANCEL, ident, 0)
        if state.may_run(ident):
            self._signal(slot)

    def _signal(self, slot: Slot) -> None:
        """Have the worker look at once, in the middle of the call that runs."""
        now = monotonic()
        if slot.kill_at is None:
            slot.kill_at = now + slot.grace
        if self._session.concurrency == 1:
            # Once more a moment later: just now it may be in the middle of an import.
            slot.signal_at = now + slot.signal_pause
            slot.signal_pause *= 2
            self._process.send_signal(signal.SIGURG)

    # -- callbacks -----------------------------------------------------------------------------

    def _needs_reader(self, call: Any) -> None:
        """From now on a thread reads for this client."""
        if call is not None:
            self._wanting.add(call)
            if call.message is not None or call.reason:  # it came meanwhile
                self._wanting.discard(call)
                call.arrived()
                self._call_back()
                return
        if self._session.ended is None and not self._foreign:
            self._reader_leads = True
            _reader.reader().add(self)

    @property
    def _in_reader(self) -> bool:
        return self._reader_leads and _reader.reader().ident == threading.get_ident()

    def fileno(self) -> int:
        """The fd of the socket to the worker; it belongs to this object."""
        found: int = self._sock.fileno()
        return found

    def next_time(self) -> float | None:
        """When the next call's time is up, on the clock of `time.monotonic`."""
        return self._earliest(None)

    def reader_may_read(self) -> bool:
        """For the thread that reads: whether no other thread reads just now."""
        return self._session.ended is None and not self._reading.locked()

    def read_as_reader(self) -> bool:
        """For the thread that reads: take in what has come; False if it is needed no longer."""
        self._reader_leads = True
        if self._session.ended is None and self._reading.acquire(blocking=False):
            try:
                self._read_once(now=True)
                self._see_to_times()
            finally:
                self._reading.release()
        self._call_back()
        return self._session.ended is None and bool(self._wanting or self._on_event is not None)

    def reader_leaves(self) -> None:
        """For the thread that reads: the threads that wait read for themselves again."""
        self._reader_leads = False
        if self._wanting and self._session.ended is None:
            self._needs_reader(None)
            return
        for gate in list(self._followers):
            open_gate(gate)

    def _call_back(self) -> None:
        """Call what is to be called. Its errors are told, and stop nothing."""
        while self._callbacks:
            try:
                function, call = self._callbacks.popleft()
            except IndexError:
                return
            try:
                function(call)
            except Exception:
                futures._base.LOGGER.exception("exception calling callback for %r", call)

    def _disown(self, parent: int) -> None:
        """In a child of the host: the worker is its parent's."""
        self._foreign = self._foreign or parent
        self._session.closed = self._session.closed or "it belongs to another process"
        self._sock.close()
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._reader_leads = False
