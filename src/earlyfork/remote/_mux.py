"""What relay and agent have in common: many sockets over one pair of pipes, none of which waits.

A channel may send so many bytes as the other end has granted (credit). So a reader that does not
read stops its own channel only, and what has to be kept for it is bounded. When the pipe itself is
full nothing is read from sockets until that has changed; from the pipe everything is always read.

It is longer than others, since all of it is about when what may be read and written.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import os
import select
from _collections import deque  # type: ignore[import-not-found]  # `collections` loads more

from earlyfork._shared.posix import Clock, close, own, read, write
from earlyfork._shared.sockets import DONTWAIT, NOSIGNAL, POLLIN, POLLOUT, hung_up
from earlyfork.remote import _wire as wire

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


POLLERR, POLLHUP = 8, 16  # everywhere
#: When so many bytes wait for the pipe, no more is read from sockets.
MOST_WAITING = 1 << 18
_FLAGS = DONTWAIT | NOSIGNAL
HEAD, MAGIC, DATA, CHUNK = wire.HEAD, wire.MAGIC, wire.DATA, wire.CHUNK
_DATA, _SIZE, _pack, _unpack = MAGIC + bytes((DATA,)), HEAD.size, HEAD.pack, HEAD.unpack_from


class Lost(Exception):  # noqa: N818 - says what happened
    """The connection has ended; the text says why, as far as this side knows."""


class Channel:
    """One process: this side's ends of its comm and of its status."""

    def __init__(self, number: int) -> None:
        self.number = number
        #: Whether all bytes of comm are passed on as they are.
        self.raw = True
        self.comm: _socket.socket | None = None
        self.status: _socket.socket | None = None
        #: How many bytes may be sent to the other end; how many were taken and not granted yet.
        self.credit = wire.WINDOW
        self.owed = 0
        #: What waits for room in comm: bytes, or what is to be done when all before it was sent.
        self.out: deque[Any] = deque()
        #: Nothing more will be read from comm.
        self.ended = False
        self.flushing = False
        #: What comm is polled for; None: for nothing.
        self.mask: int | None = None


class Mux:
    """One end of a connection."""

    def __init__(self, reads: int, writes: int, allowed: frozenset[int], silence: float) -> None:
        self.reads, self.writes = reads, writes
        self.decoder = wire.Decoder(allowed)
        self.channels: dict[int, Channel] = {}
        new: Callable[[], Any] | None = own(select, "epoll")
        #: epoll and poll have the same methods; epoll takes seconds and poll milliseconds. And
        #: unless it is told how many events are enough, it makes room for a thousand each time.
        self.poll = own(select, "poll")() if new is None else new()
        self.unit = 1000 if new is None else 1
        self.most = () if new is None else (64,)
        #: For when the pipe is full: polls nothing but that.
        self.narrow = own(select, "poll")()
        self.handlers: dict[int, Callable[[int], object]] = {}
        #: What was said in this turn, and is sent at its end: the other side wakes up once for all.
        self.fresh: list[bytes] = []
        self.fresh_size = 0
        #: What waits for room in the pipe.
        self.out: deque[bytes] = deque()
        self.waiting = 0
        #: Whether everything is kept back, since nobody is there yet.
        self.corked = False
        self.broken = self.at_end = False
        #: Seconds without a word after which the other side counts as gone.
        self.silence = silence
        self.heard = Clock.monotonic()
        self.pinged = False
        #: When the loop must wake up at the latest; and when it looks at the clock next.
        self.wake_at: float | None = None
        self.look_at = 0.0

    # -- waiting -------------------------------------------------------------------------------

    def watch(self, fd: int, mask: int, handler: Callable[[int], object]) -> None:
        """Call `handler` with what happens at an fd."""
        self.handlers[fd] = handler
        self.poll.register(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Look at this fd no more."""
        if self.handlers.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def listen(self) -> None:
        """Begin to read from the pipe."""
        self.watch(self.reads, POLLIN, self._hear)
        self.narrow.register(self.reads, POLLIN)
        self.heard = Clock.monotonic()

    def turn(self) -> None:
        """Wait for something to happen, and see to it.

        Raises:
            Lost: the connection has ended.
        """
        now = Clock.monotonic()
        if now >= self.look_at:
            self._look_at_clock(now)
        if self.fresh:
            self._send_fresh()
        left = max(0.0, self.look_at - now) + 0.001
        if self.waiting > MOST_WAITING and not self.corked:
            happened = self.narrow.poll(left * 1000)
        else:
            happened = self.poll.poll(left * self.unit, *self.most)
        handlers = self.handlers
        for fd, events in happened:
            handler = handlers.get(fd)
            if handler is not None:
                handler(events)

    def _look_at_clock(self, now: float) -> None:
        """See whether the other side is silent, and when to look again."""
        third = self.silence / 3
        look_at = now + third
        if not self.corked:
            quiet = now - self.heard
            if quiet >= self.silence:
                raise Lost(f"nothing was heard for {self.silence:g} seconds")
            if quiet >= third and not self.pinged:
                self.pinged = True
                self.send(wire.PING, wire.CONNECTION)
            look_at = self.heard + (self.silence if self.pinged else third)
        self.look_at = look_at if self.wake_at is None else min(look_at, self.wake_at)

    # -- the pipe ------------------------------------------------------------------------------

    def send(self, kind: int, channel: int, payload: bytes = b"") -> None:
        """Send a frame at the end of this turn, or when there is room."""
        data = _pack(MAGIC, kind, channel, len(payload)) + payload
        self.fresh.append(data)
        self.fresh_size += len(data)
        if self.fresh_size > MOST_WAITING:
            self._send_fresh()

    def _send_fresh(self) -> None:
        """Send what was said in this turn."""
        fresh, self.fresh, self.fresh_size = self.fresh, [], 0
        data = fresh[0] if len(fresh) == 1 else b"".join(fresh)
        if not self.out and not self.corked:
            done = self._write(data)
            if done == len(data):
                return
            data = data[done:]
            self._want_room()
        if not self.broken:
            self.out.append(data)
            self.waiting += len(data)

    def _write(self, data: bytes) -> int:
        try:
            return write(self.writes, data)
        except BlockingIOError:
            return 0
        except OSError:  # the end is read as well, and says more
            self.broken = True
            self.out.clear()
            self.waiting = 0
            return len(data)

    def _want_room(self) -> None:
        if self.writes not in self.handlers:
            self.watch(self.writes, POLLOUT, self._has_room)
            self.narrow.register(self.writes, POLLOUT)

    def _has_room(self, _events: int = 0) -> None:
        out = self.out
        while out:
            data = out[0]
            done = self._write(data)
            if self.broken:
                break
            self.waiting -= done
            if done < len(data):
                out[0] = data[done:]
                return
            out.popleft()
        if self.writes in self.handlers:
            self.unwatch(self.writes)
            self.narrow.unregister(self.writes)

    def uncork(self) -> None:
        """Send what was kept back."""
        if self.fresh:
            self._send_fresh()
        self.corked = False
        if self.out:
            self._want_room()
            self._has_room()

    def _hear(self, _events: int) -> None:
        try:
            data = read(self.reads, 1 << 17)
        except BlockingIOError:
            return
        except OSError as error:
            raise Lost(f"the stream from the other side failed: {error.strerror}") from None
        if not data:
            self.at_end = True
            raise Lost("the stream from the other side has ended")
        self.heard, self.pinged = Clock.monotonic(), False
        if data[:3] == _DATA and len(data) >= _SIZE and not self.decoder.rest:
            # The usual case of what follows: one piece of data.
            _, _, number, length = _unpack(data)
            channel = self.channels.get(number)
            if channel is not None and len(data) == _SIZE + length:
                self.deliver(channel, data[_SIZE:])
                return
        for kind, number, payload in self.decoder.feed(data):
            if kind == DATA:
                channel = self.channels.get(number)
                if channel is not None:
                    self.deliver(channel, payload)
                elif number > 0xFFFFFFF0:
                    self.print(number, payload)
            else:
                self.obey(kind, number, payload)

    def obey(self, kind: int, number: int, payload: bytes) -> None:
        """Obey a frame that is no data."""
        channel = self.channels.get(number)
        if kind == wire.CREDIT:
            (more,) = wire.NUMBER.unpack(payload)
            if channel is not None:
                channel.credit += more
                self.resume(channel)
            else:
                self.granted(number, more)
        elif kind == wire.PING:
            self.send(wire.PONG, wire.CONNECTION)
        elif channel is not None and kind == wire.EOF:
            self.after(channel, lambda: self._shut(channel))
        elif channel is not None and kind == wire.CLOSE:
            channel.ended = True
            self.after(channel, lambda: self.drop_comm(channel))
            self.update(channel)

    def print(self, number: int, payload: bytes) -> None:
        """Workers have printed something."""

    def granted(self, number: int, more: int) -> None:
        """More may be printed there."""

    # -- channels ------------------------------------------------------------------------------

    def begin(self, channel: Channel) -> None:
        """Read from a channel's comm, which is there by now."""
        assert channel.comm is not None
        self.update(channel)

    def update(self, channel: Channel) -> None:
        """Have a channel's comm polled for what is wanted of it.

        Not at all where nothing is: a hang-up would be told again and again.
        """
        if channel.comm is None:
            return
        mask: int | None = (POLLIN if self.may_read(channel) else 0) | (
            POLLOUT if channel.out else 0
        )
        if not mask and not channel.ended:
            mask = None
        before, channel.mask = channel.mask, mask
        if mask == before:
            return
        fd = channel.comm.fileno()
        if mask is None:
            self.unwatch(fd)
        elif before is None:
            at = self._at_raw if channel.raw else self._at_comm
            self.watch(fd, mask, lambda events: at(channel, events))
        else:
            self.poll.modify(fd, mask)

    def may_read(self, channel: Channel) -> bool:
        """Whether what a channel's comm has to say can be passed on."""
        return channel.credit > 0 and not channel.ended

    def resume(self, channel: Channel) -> None:
        """There is credit again."""
        self.update(channel)

    def _at_raw(self, channel: Channel, events: int) -> None:
        """The usual case of `_at_comm`: there are bytes to pass on, and there is credit."""
        comm = channel.comm
        if events == POLLIN and channel.credit > CHUNK and comm is not None:
            try:
                data = comm.recv(CHUNK, DONTWAIT)
            except OSError:
                data = b""
            if data:
                channel.credit -= len(data)
                size = len(data)
                self.fresh.append(_pack(MAGIC, DATA, channel.number, size) + data)
                self.fresh_size += size
                if self.fresh_size > MOST_WAITING:
                    self._send_fresh()
                return
        self._at_comm(channel, events)

    def _at_comm(self, channel: Channel, events: int) -> None:
        if events & POLLOUT and channel.out:
            self.flush(channel)
        comm = channel.comm
        if comm is None:
            return
        if events & (POLLIN | POLLHUP | POLLERR) and self.may_read(channel):
            self.take(channel, comm)
        elif events & (POLLHUP | POLLERR) and channel.ended and hung_up(comm.fileno()):
            self.closed(channel)
            self.drop_comm(channel)

    def take(self, channel: Channel, comm: _socket.socket) -> None:
        """Read from a channel's comm, and pass that on."""
        try:
            data = comm.recv(min(CHUNK, channel.credit), DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # it was closed there with something unread
            data = b""
        if data:
            channel.credit -= len(data)
            self.send(DATA, channel.number, data)
            if channel.credit <= 0:
                self.update(channel)
        else:
            self.end(channel)

    def end(self, channel: Channel) -> None:
        """Nothing more comes from a channel's comm."""
        channel.ended = True
        self.send(wire.EOF, channel.number)
        self.update(channel)

    def closed(self, channel: Channel) -> None:
        """Nobody holds the other end of a channel's comm."""
        self.send(wire.CLOSE, channel.number)

    def deliver(self, channel: Channel, data: bytes) -> None:
        """Write to a channel's comm what came for it."""
        if channel.comm is None:
            return
        if channel.out:
            channel.out.append(data)
            return
        done = self._put(channel, data)
        if done < len(data):
            channel.out.append(data[done:])
            self.update(channel)

    def _put(self, channel: Channel, data: bytes) -> int:
        assert channel.comm is not None
        try:
            done = self.write_comm(channel, channel.comm, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
            done = len(data)  # nobody will ever read it
        channel.owed += done
        if channel.owed >= wire.WINDOW // 2:
            self.send(wire.CREDIT, channel.number, wire.NUMBER.pack(channel.owed))
            channel.owed = 0
        return done

    def write_comm(self, _channel: Channel, comm: _socket.socket, data: bytes) -> int:
        """Write to a channel's comm."""
        return comm.send(data, _FLAGS)

    def after(self, channel: Channel, what: Callable[[], object]) -> None:
        """Do something when all that came for a channel before was written; False: try again."""
        channel.out.append(what)
        if len(channel.out) == 1:
            self.flush(channel)

    def flush(self, channel: Channel) -> None:
        """Write what waits for a channel's comm, and do what was to be done after that.

        What comes after the end of comm is not written any more, but done all the same.
        """
        if channel.flushing:
            return
        channel.flushing = True
        out = channel.out
        while out:
            item = out[0]
            if type(item) is bytes:
                done = self._put(channel, item) if channel.comm is not None else len(item)
                if done < len(item):
                    out[0] = item[done:]
                    break
            elif item() is False:
                break
            out.popleft()
        channel.flushing = False
        self.update(channel)

    def _shut(self, channel: Channel) -> None:
        if channel.comm is not None:
            try:
                channel.comm.shutdown(_socket.SHUT_WR)
            except OSError:  # nobody is there any more
                return

    def drop_comm(self, channel: Channel) -> None:
        """Close a channel's comm."""
        comm, channel.comm = channel.comm, None
        if comm is not None:
            self.unwatch(comm.fileno())
            comm.close()
        channel.ended = True
        self.flush(channel)
        self.forget_if_over(channel)

    def drop_status(self, channel: Channel) -> None:
        """Close a channel's status."""
        status, channel.status = channel.status, None
        if status is not None:
            self.unwatch(status.fileno())
            status.close()
        self.forget_if_over(channel)

    def forget_if_over(self, channel: Channel) -> None:
        """Forget a channel of which nothing is left."""
        if channel.comm is None and channel.status is None:
            self.channels.pop(channel.number, None)


def many_fds() -> None:
    """Let this process have as many open files as it may."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ignore(numbers: tuple[int, ...]) -> None:
    """Ignore signals that are meant for programs, and not for this."""
    for number in numbers:
        _signal.signal(number, _signal.SIG_IGN)


def close_all(fds: list[int]) -> None:
    """Close these."""
    for fd in fds:
        close(fd)


def null() -> int:
    """/dev/null."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
