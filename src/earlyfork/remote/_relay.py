"""The relay: it speaks the template's part, for a template on another machine.

What its owner sends to a process is handed on to the agent there, and back. So for the owner all is
as with a template here. This file has the owners' side; the command is in `_serve`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlyfork._child.foreign import is_pidfd
from earlyfork._shared import payloads
from earlyfork._shared import wire as local
from earlyfork._shared.posix import close
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    POLLIN,
    Fds,
    name_senders,
    receive,
    stream_on,
    write_status,
)
from earlyfork.remote import _wire as wire
from earlyfork.remote._mux import Channel, Mux

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_FLAGS = DONTWAIT | NOSIGNAL


class Near(Channel):
    """A process there, seen from its relay: this end of its comm is the process's own."""

    def __init__(self, number: int, comm: _socket.socket, status: _socket.socket) -> None:
        super().__init__(number)
        self.comm, self.status = comm, status
        #: Whether all further bytes are the user's.
        self.raw = False
        #: What was read of a batch; how much of its bulk is to come; fds that came.
        self.rest = b""
        self.bulk = 0
        self.fds = Fds()
        #: Frames for the agent, which wait for credit: (kind, payload), or what is to be done.
        self.queue: list[tuple[int, bytes] | Callable[[], object]] = []
        self.generation = 0
        #: If it is linked: the near end of its line, and what shows its owner's end.
        self.line = Fds()
        self.owner = Fds()
        self.asked = b""
        self.pid_told = False


class Relay(Mux):
    """The near end of a connection."""

    channels: dict[int, Near]  # type: ignore[assignment]

    def __init__(self, reads: int, writes: int, silence: float) -> None:
        super().__init__(reads, writes, wire.FROM_AGENT, silence)
        self.last = wire.TEMPLATE
        #: Whether the agent has said that it is there.
        self.up = False

    # -- from the owner ------------------------------------------------------------------------

    def add(self, channel: Near) -> None:
        """Serve the owner of a process."""
        assert channel.status is not None
        self.channels[channel.number] = channel
        self.watch(channel.status.fileno(), POLLIN, lambda e: self._at_status(channel, e))
        self.begin(channel)

    def may_read(self, channel: Channel) -> bool:
        """Whether what an owner sends can be passed on."""
        assert isinstance(channel, Near)
        return not channel.queue and super().may_read(channel)

    def resume(self, channel: Channel) -> None:
        """There is credit again."""
        assert isinstance(channel, Near)
        self._pump(channel)
        super().resume(channel)

    def take(self, channel: Channel, comm: _socket.socket) -> None:
        """Read what an owner sends: batches up to RUN, its own bytes after that."""
        assert isinstance(channel, Near)
        if channel.raw:
            super().take(channel, comm)
            return
        try:
            data, fds, _ = receive(comm, wire.CHUNK, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", Fds()
        channel.fds += fds
        try:
            if data:
                self._cut(channel, data)
        except local.ProtocolError as error:
            self._refuse(channel, str(error))
            return
        if data:
            self._pump(channel)
            self.update(channel)
        else:
            channel.queue.append((wire.DATA, channel.rest))  # half of something
            self.end(channel)

    def end(self, channel: Channel) -> None:
        """An owner sends no more bytes."""
        assert isinstance(channel, Near)
        channel.ended = True
        channel.queue.append((wire.EOF, b""))
        self._pump(channel)
        self.update(channel)

    def closed(self, channel: Channel) -> None:
        """An owner has closed a process's socket."""
        assert isinstance(channel, Near)
        channel.queue.append((wire.CLOSE, b""))
        self._pump(channel)

    def forget_if_over(self, channel: Channel) -> None:
        """Forget a process of which nothing is left, and nothing is to be sent."""
        assert isinstance(channel, Near)
        if not channel.queue:
            super().forget_if_over(channel)

    def _cut(self, channel: Near, data: bytes) -> None:
        """Take apart what was read, and queue what is to be sent.

        Raises:
            ProtocolError: this is nothing that an owner may send to a process over there.
        """
        data, channel.rest = channel.rest + data, b""
        while data:
            if channel.bulk:
                part, data = data[: channel.bulk], data[channel.bulk :]
                channel.bulk -= len(part)
                channel.queue.append((wire.DATA, part))
                continue
            if channel.raw:
                channel.queue.append((wire.DATA, data))
                return
            if not local.MAGIC.startswith(data[:2]):
                channel.raw = True
                continue
            if len(data) < local.PAD:
                channel.rest = data
                return
            magic, version, count, size, bulk = local.HEAD.unpack_from(data)
            if magic != local.MAGIC or version != local.VERSION or size > local.MAX_BODY:
                channel.raw = True  # what this is, the process itself shall judge
                continue
            total = max(local.PAD, local.HEAD.size + size)
            if len(data) < total:
                channel.rest = data
                return
            body = data[local.HEAD.size : local.HEAD.size + size]
            with Fds(channel.fds.take() for _ in range(count)) as fds:
                self._obey(channel, body, fds, bulk)
            channel.bulk = bulk
            data = data[total:]

    def _obey(self, channel: Near, body: bytes, fds: Fds, bulk: int) -> None:
        """Queue what one batch means."""
        frames = local.frames(body)
        channel.generation += sum(op in local.CHANGES for op, _ in frames)
        op, payload = frames[-1] if frames else (0, b"")
        linked = False
        if op == local.FORK and len(frames) == 1 and len(fds) >= 2:
            self._fork(channel, fds)
            return
        if op in (local.RUN, local.EXEC):
            channel.raw = True
            linked = bool(fds)
            if op == local.RUN:
                _, link, alone = payloads.unpack_run(payload)
                linked = link != payloads.UNLINKED
                if linked:
                    letter = payloads.pack_run("", payloads.SECOND_LINE, alone=alone)
                    at = len(body) - len(payload)
                    body = body[:at] + letter + body[at + 1 :]
        if linked:
            self._link(channel, fds)
        elif fds:
            raise local.ProtocolError("no files can be passed to another machine")
        head = local.batch(body, 2 if linked else 0, bulk)
        channel.queue.append((wire.DATA, head))
        if channel.raw and channel.comm is not None:
            name_senders(channel.comm, on=False)
            fd = channel.comm.fileno()
            if fd in self.handlers:
                self.handlers[fd] = lambda events: self._at_raw(channel, events)

    def _fork(self, parent: Near, fds: Fds) -> None:
        self.last += 1
        child = Near(self.last, stream_on(fds.take()), stream_on(fds.take()))
        parent.queue.append(
            (wire.FORK, wire.PAIR.pack(parent.generation & 0xFFFFFFFF, child.number))
        )
        parent.queue.append(lambda: self.add(child))

    def _link(self, channel: Near, fds: Fds) -> None:
        """Remember how the owner of a linked process is seen to end."""
        ends = [fds.take() for _ in range(len(fds))]
        for fd in ends:
            if is_pidfd(fd):
                channel.owner.append(fd)
                self.watch(fd, POLLIN, lambda _: self._owner_ended(channel))
            elif not channel.line:
                channel.line.append(fd)  # the near end: as long as it is open, its owner waits
            else:
                close(fd)
        channel.queue.append((wire.LINK, b""))

    def _owner_ended(self, channel: Near) -> None:
        self._forget_owner(channel)
        if channel.status is not None:
            self._drop(channel)

    def _forget_owner(self, channel: Near) -> None:
        for fd in channel.owner:
            self.unwatch(fd)
        channel.owner.close()
        channel.line.close()

    def _pump(self, channel: Near) -> None:
        """Send what is queued, as far as there is credit."""
        queue = channel.queue
        while queue:
            item = queue[0]
            if not isinstance(item, tuple):
                queue.pop(0)
                item()
                continue
            kind, payload = item
            if kind == wire.DATA and payload:
                size = min(wire.CHUNK, channel.credit)
                if size <= 0:
                    return
                channel.credit -= len(payload[:size])
                self.send(kind, channel.number, payload[:size])
                if len(payload) > size:
                    queue[0] = (kind, payload[size:])
                    continue
            elif payload or kind != wire.DATA:
                self.send(kind, channel.number, payload)
            queue.pop(0)
        self.forget_if_over(channel)

    def _refuse(self, channel: Near, why: str) -> None:
        """Say why a process can't be given what its owner sent, and end it."""
        if channel.status is not None:
            told = payloads.pack_error("earlyfork.ProcessStateError", why, why)
            write_status(channel.status.fileno(), local.ERROR, told)
        self.send(wire.CLOSE, channel.number)
        self.drop_comm(channel)

    def _at_status(self, channel: Near, events: int) -> None:
        status = channel.status
        if status is None:
            return
        data = b""
        if events & POLLIN:
            try:
                data = status.recv(4096, DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
        if not data:
            self._drop(channel)
            return
        asked = channel.asked + data
        while len(asked) >= local.FRAME.size:
            op, size = local.FRAME.unpack_from(asked)
            payload = asked[local.FRAME.size : local.FRAME.size + size]
            if op != local.SIGNAL or size > payloads.MOST_DIGITS:
                self._drop(channel)
                return
            if len(payload) < size:
                break
            asked = asked[local.FRAME.size + size :]
            number = payloads.unpack_number(payload)
            # After what was sent before: RUN discards the signals that came before it.
            if not channel.raw and channel.comm is not None and self.may_read(channel):
                self.take(channel, channel.comm)
            channel.queue.append((wire.SIGNAL, wire.NUMBER.pack(number & 0xFFFFFFFF)))
            self._pump(channel)
        channel.asked = asked

    def _drop(self, channel: Near) -> None:
        """Nobody waits for a process any more."""
        self._forget_owner(channel)
        channel.queue.append((wire.DROP, b""))
        self._pump(channel)
        self.drop_status(channel)

    def drop_comm(self, channel: Channel) -> None:
        """Close a channel's comm."""
        assert isinstance(channel, Near)
        super().drop_comm(channel)
        channel.fds.close()

    # -- from the agent ------------------------------------------------------------------------

    def obey(self, kind: int, number: int, payload: bytes) -> None:
        """Obey a frame that is no data."""
        if kind == wire.STATUS:
            channel = self.channels.get(number)
            if channel is not None and channel.status is not None:
                self._tell(channel, channel.status, payload)
        elif kind == wire.GONE:
            channel = self.channels.get(number)
            if channel is not None:
                self._forget_owner(channel)
                self.drop_status(channel)
        elif kind == wire.HELLO:
            self.up = True
            self.wake_at = None
        else:
            super().obey(kind, number, payload)

    def _tell(self, channel: Near, status: _socket.socket, payload: bytes) -> None:
        channel.pid_told = channel.pid_told or payload[:1] == bytes((local.PID,))
        try:
            if status.send(payload, _FLAGS) == len(payload):
                return
        except OSError:  # its owner is gone, or does not read: that is the owner's affair
            pass
        self._drop(channel)
