"""The owner's end of a process's socket: who may send what, in which batches, and who closes it.

Frames wait until several can be sent as one batch, or until something flushes them. If the process
is gone they are lost, and its status socket says why it is gone.
"""

from __future__ import annotations

import _socket
import _thread
import socket
import weakref
from typing import TYPE_CHECKING

from earlyfork._ground import stack
from earlyfork._ground.errors import ProcessStateError
from earlyfork._owner.own import Own, Owns, closed_by_program, lent, socket_of
from earlyfork._shared import wire
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import NOSIGNAL, rights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from earlyfork._owner.watch import Watch

#: Frames that wait are sent when all of them are this long, in bytes, or have this many fds.
FLUSH_FROM = 1 << 15
FLUSH_FDS = 64
#: A send of so many bytes on a stream socket is done as a whole or not at all: one page.
SENT_WHOLE = 4096


def sends_whole() -> bool:
    """Whether a batch may be sent by a socket of the program's own kind.

    gevent's lets other greenlets run in the middle of a batch: their own could then begin in there,
    and the lock that keeps others out knows threads. A default timeout would end one half way.
    """
    return socket.socket.__module__ == "socket" and socket.getdefaulttimeout() is None


class Channel:
    """Comm as seen from the owner, and the state of the handle: it follows from what was sent."""

    # Defaults on the class, since making a process must cost little.
    _state = wire.OPEN
    _out: list[tuple[bytes, Sequence[Own]]] | None = None  # frames not sent yet, and their fds
    #: What is being sent: a child of the host that forks itself just then must close it.
    _in_flight: tuple[weakref.ref[Owns], ...] = ()
    _size = 0
    _files = 0  # of the fds in `_out`
    _generation = 0  # how many frames have changed the process
    _broken = False
    _end = Own()  # of none yet, if an exception comes while this is made

    def __init__(self, comm: Own, watch: Watch) -> None:
        """Own `comm`, the near end of the process's socket."""
        self._end = comm
        self._watch = watch
        self._lock = _thread.RLock()  # a signal handler may make processes, too

    @property
    def _comm(self) -> int:
        """The fd of the socket, or -1."""
        return self._end.fd

    def _may(self, op: int) -> str:
        """The state after `op`, if that may be sent or done now."""
        after = wire.NEXT.get((self._state, op))
        if after is None or self._watch.foreign:
            raise self._refusal(op)
        return after

    def _refusal(self, op: int) -> ProcessStateError:
        if self._watch.foreign:
            return ProcessStateError(
                f"{self!r} belongs to process {self._watch.foreign}, which made it; make your own "
                "with new()"
            )
        ends = op in (wire.RUN, wire.EXEC)
        if self._state == wire.ROOT and ends:
            return ProcessStateError(f"{self!r} is a template and never runs anything; fork() it")
        if self._state == wire.ROOT:
            return ProcessStateError(f"{self!r} is a template of this program; fork() it first")
        what = "run again" if ends else "prepared or forked any more"
        return ProcessStateError(f"{self!r} can't be {what}")

    def _add(self, op: int, payload: bytes, fds: Sequence[Own] = ()) -> None:
        """Queue one frame; its fds are owned from here on."""
        self._may(op)
        with self._lock:
            payload, bulk = wire.split_bulk(payload)
            if self._out is None:
                self._size = self._files = 0
                self._out = []
            self._size += len(payload)
            self._files += len(fds)
            if op in wire.CHANGES:
                # First: a standby too few is the better mistake, should an exception come between.
                self._generation += 1
            self._out.append((wire.frame(op, payload), fds))
            if bulk or self._size > FLUSH_FROM or self._files > FLUSH_FDS:
                self._flush_locked(bulk)

    def _flush(self) -> None:
        if self._out:
            with self._lock:
                self._flush_locked()

    def _flush_locked(
        self,
        bulk: bytes = b"",
        last: tuple[tuple[bytes, Sequence[Own]], ...] = (),
        sock: socket.socket | None = None,
        into: list[int] | None = None,
    ) -> None:
        """Send what waits, and what was not queued before because it ends the conversation."""
        out = self._out or []
        sent = [] if into is None else into
        fds = Owns([own for _, owns in (*out, *last) for own in owns])
        try:
            if fds:
                self._in_flight += (weakref.ref(fds),)
            self._out = None
            if out or last:
                body = b"".join([frame for frame, _ in (*out, *last)])
                self._send(wire.batch(body, len(fds), len(bulk)), fds, bulk, sock, sent)
        except BaseException:
            if not sent:  # interrupted: it waits for the next occasion
                self._out = [*out, *(self._out or ())]
            raise

    def _send(
        self,
        head: bytes,
        fds: Sequence[Own] = (),
        bulk: bytes = b"",
        sock: socket.socket | None = None,
        into: list[int] | None = None,
    ) -> None:
        """Send one batch; a process that is gone misses it, and says elsewhere why it is gone.

        Args:
            head: the batch up to its bulk.
            fds: what goes with it; stays its owners'.
            bulk: what comes after the head.
            sock: the socket, if it was taken out of its owner already.
            into: something is added here as soon as anything was sent.

        Raises:
            ProcessStateError: this program closed the socket, or one of the fds.
        """
        sent = [] if into is None else into
        if sock is None:
            self._check_end()
        by: _socket.socket | None = sock
        try:
            # The number of bytes comes into the list in the same step in which they are sent.
            if sock is None and not bulk and quick is not None:
                self._send_at_once(head, fds, sent)
            if not sent or sent[0] < len(head) + len(bulk):
                by = by or lent(self._end)
                self._send_rest(by, head, fds, bulk, sent)
        except (BrokenPipeError, ConnectionResetError) as error:
            stack.pass_on(error)
            self._broken = True
        except BaseException:
            # Interrupted. A small batch is sent whole or not at all; of a large one the other side
            # may have half, and would wait for the rest.
            if len(head) + len(bulk) > SENT_WHOLE:
                self._broken = True
                (by or lent(self._end)).shutdown(_socket.SHUT_RDWR)
            raise
        if fds:
            self._in_flight = ()

    def _send_at_once(self, head: bytes, fds: Sequence[Own], sent: list[int]) -> None:
        """Send what goes without a wait, in one step in C.

        That keeps the interpreter's lock. To give it away costs 5 ms where other threads are busy.
        """
        if all(own.is_own() for own in fds):
            try:
                sent.extend(map(quick.send, (self._end,), (head,), ((*fds,),)))
            except OSError as error:  # what it means is found out by the usual way
                stack.pass_on(error)

    def _send_rest(
        self, by: _socket.socket, head: bytes, fds: Sequence[Own], bulk: bytes, sent: list[int]
    ) -> None:
        """Send what was not sent yet, with a wait."""
        if not sent and (fds or bulk):
            sent.extend(map(by.sendmsg, ((head, bulk),), (self._numbers(fds),), (NOSIGNAL,)))
        elif not sent:
            sent.extend(map(by.send, (head,), (NOSIGNAL,)))
        done = sent[0]
        if done < len(head):
            by.sendall(head[done:], NOSIGNAL)
            done = len(head)
        if bulk and done < len(head) + len(bulk):
            by.sendall(memoryview(bulk)[done - len(head) :], NOSIGNAL)

    def _numbers(self, fds: Sequence[Own]) -> list[tuple[int, int, bytes]]:
        """The ancillary data of fds that are still the same."""
        if not all(own.is_own() for own in fds):
            self._broken = True
            raise closed_by_program(f"a file for {self!r}")
        return rights([own.fd for own in fds]) if fds else []

    def _is_ours(self) -> bool:
        """Whether the socket is still its own: somebody may have closed all fds of the host."""
        return self._end.is_own()

    def _check_end(self) -> None:
        if not self._end.is_own():
            raise closed_by_program(f"the socket of {self!r}")

    def _give_sock(self) -> socket.socket:
        """The socket, which is its taker's from here on."""
        self._check_end()
        return socket_of(socket.socket, self._end)

    def _release(self) -> None:
        """Close the socket, and drop what was not sent."""
        self._out = None
        self._end.close()
