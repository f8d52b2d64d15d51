"""The owner's end of a process's socket: who may send what, in which batches, and who closes it.

Frames wait until several can be sent as one batch, or until something flushes them. If the process
is gone they are lost, and its status socket says why it is gone.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import socket
from typing import TYPE_CHECKING

from earlyfork._ground.errors import ProcessStateError
from earlyfork._shared import wire
from earlyfork._shared.posix import close
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import NOSIGNAL, Fds, rights, stream_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from earlyfork._owner.watch import Watch

#: Frames that wait are sent when all of them are this long, in bytes, or have this many fds.
FLUSH_FROM = 1 << 15
FLUSH_FDS = 64
#: A send of so many bytes on a stream socket is done as a whole or not at all: one page.
SENT_WHOLE = 4096


class Channel:
    """Comm as seen from the owner, and the state of the handle: it follows from what was sent."""

    # Defaults on the class, since making a process must cost little.
    _state = wire.OPEN
    _sock: _socket.socket | None = None  # made of the fd when something is sent
    _out: list[bytes] | None = None  # frames not sent yet, and their fds
    _fds: Fds | None = None
    #: Fds that are being sent: a child of the host that forks itself just then must close them.
    _in_flight: tuple[Fds, ...] = ()
    _size = 0
    _generation = 0  # how many frames have changed the process
    _broken = False

    def __init__(self, comm: int, watch: Watch) -> None:
        """Own `comm`, the near end of the process's socket."""
        self._comm = comm
        self._watch = watch
        self._lock = _thread.RLock()  # a signal handler may make processes, too

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
        if self._state == wire.ROOT and op == wire.RUN:
            return ProcessStateError(f"{self!r} is a template and never runs anything; fork() it")
        if self._state == wire.ROOT:
            return ProcessStateError(f"{self!r} is a template of this program; fork() it first")
        what = "run again" if op == wire.RUN else "prepared or forked any more"
        return ProcessStateError(f"{self!r} can't be {what}")

    def _add(self, op: int, payload: bytes, *fds: int) -> None:
        """Queue one frame; its fds are owned from here on."""
        try:
            self._may(op)
        except ProcessStateError:
            Fds(fds).close()
            raise
        with self._lock:
            if op in wire.CHANGES:
                self._generation += 1
            bulk = b""
            if len(payload) >= wire.BULK_FROM:
                payload, bulk = b"", payload
            if self._out is None or self._fds is None:
                self._out, self._fds, self._size = [], Fds(), 0
            self._out.append(wire.frame(op, payload))
            self._size += len(payload)
            self._fds += fds
            if bulk or self._size > FLUSH_FROM or len(self._fds) > FLUSH_FDS:
                self._flush_locked(bulk)

    def _flush(self) -> None:
        if self._out:
            with self._lock:
                self._flush_locked()

    def _flush_locked(self, bulk: bytes = b"") -> None:
        out, fds = self._out or [], self._fds or Fds()
        self._out = self._fds = None
        head = wire.batch(b"".join(out), len(fds), len(bulk))
        if not fds:
            self._send(head, fds, bulk)
            return
        with self._flight(fds):
            self._send(head, fds, bulk)

    @contextlib.contextmanager
    def _flight(self, fds: Fds | None = None) -> Iterator[Fds]:
        """A container of fds that are being sent; at the end, what is still in it is closed.

        A child of the host that forks itself meanwhile closes it as well (`inside.begin_anew`).
        """
        fds = Fds() if fds is None else fds
        self._in_flight += (fds,)
        try:
            yield fds
        finally:
            self._in_flight = tuple(other for other in self._in_flight if other is not fds)
            fds.close()

    def _send(self, head: bytes, fds: list[int], bulk: bytes = b"") -> None:
        """Send one batch; a process that is gone misses it, and says elsewhere why it is gone."""
        sock = self._socket()
        try:
            if fds or bulk:
                sent = sock.sendmsg([head, bulk], rights(fds) if fds else (), NOSIGNAL)
            else:
                sent = sock.send(head, NOSIGNAL)
            if sent < len(head):
                sock.sendall(head[sent:], NOSIGNAL)
                sent = len(head)
            if bulk and sent < len(head) + len(bulk):
                sock.sendall(memoryview(bulk)[sent - len(head) :], NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            self._broken = True
        except BaseException:
            # Interrupted. A small batch is sent whole or not at all; of a large one the other side
            # may have half, and would wait for the rest.
            if len(head) + len(bulk) > SENT_WHOLE:
                self._broken = True
                sock.shutdown(_socket.SHUT_RDWR)
            raise

    def _give_sock(self) -> socket.socket:
        """The socket, which is its taker's from here on."""
        sock = self._socket()
        self._sock, self._comm = None, -1
        if type(sock) is _socket.socket:
            sock = socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, sock.detach())
        return sock  # type: ignore[return-value]

    def _socket(self) -> _socket.socket:
        sock = self._sock
        if sock is None:
            if socket.socket.__module__ != "socket" or socket.getdefaulttimeout() is not None:
                # gevent's lets other greenlets run in the middle of a batch. Its own batch could
                # then begin in there, or in a fork: the lock that keeps others out knows threads.
                # And a timeout would end a batch half way.
                sock = stream_on(self._comm)
            elif quick is None:
                sock = socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self._comm)
            else:
                sock = quick.open_socket(socket.socket, self._comm)
            self._sock = sock
        return sock

    def _release(self) -> None:
        """Close the socket, and drop what was not sent."""
        sock, comm = self._sock, self._comm
        self._sock, self._comm = None, -1
        if sock is not None:
            sock.close()
        elif comm >= 0:
            close(comm)
        if self._fds:
            self._fds.close()
        self._out = None
