"""The agent: the far end of a connection. It forks a root template, and is the owner of its clones.

This is the last of the text that an interpreter is sent over there; `serve_launched` begins it. The
agent runs no code of users. The file is longer than others: it is sent as a whole.
"""

from __future__ import annotations

import _signal
import errno
import gc
import os
import sys

from earlyfork import _context
from earlyfork._child.here import set_name
from earlyfork._child.root import serve_root
from earlyfork._child.server import kept
from earlyfork._shared import payloads
from earlyfork._shared import wire as local
from earlyfork._shared.posix import close, fork, getpid, kill, read, write
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    POLLIN,
    Fds,
    FdsLost,
    comm_ends,
    message_pair,
    rights,
    status_ends,
    stream_on,
    stream_pair,
    take_queued,
)
from earlyfork.remote import _finder
from earlyfork.remote import _wire as wire
from earlyfork.remote._mux import Channel, Lost, Mux, close_all, ignore, many_fds, null

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

_FLAGS = DONTWAIT | NOSIGNAL
#: Standbys that a template there keeps.
STANDBYS = 2


class Far(Channel):
    """A process there, seen from its owner, the agent."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        #: What was told of it: its pid, and whether it has ended; and half of a frame.
        self.pid = 0
        self.over = False
        self.told = b""
        #: Whether it was forked; before that, what is sent to it waits, and so do signals.
        self.came = False
        self.signals: list[int] = []
        #: If it is linked: the far end of its line. Fds that go with the next bytes for comm.
        self.line = Fds()
        self.attached = Fds()
        #: Processes that were forked from it ahead of need.
        self.queue: _socket.socket | None = None


class Agent(Mux):
    """The far end."""

    channels: dict[int, Far]  # type: ignore[assignment]

    def __init__(self, reads: int, writes: int, silence: float, prints: dict[int, int]) -> None:
        super().__init__(reads, writes, wire.FROM_RELAY, silence)
        #: Channel of what is printed: the fd where it is read, and how much may be sent.
        self.prints = {wire.STREAMS[number]: [fd, wire.WINDOW] for number, fd in prints.items()}
        for number, (fd, _) in self.prints.items():
            self._hear_prints(number, fd)

    def add(self, channel: Far, comm: _socket.socket, status: _socket.socket) -> None:
        """Serve a process whose sockets are there."""
        channel.comm, channel.status, channel.came = comm, status, True
        self.watch(status.fileno(), POLLIN, lambda _: self._at_status(channel))
        self.begin(channel)

    # -- what the relay says -------------------------------------------------------------------

    def obey(self, kind: int, number: int, payload: bytes) -> None:
        """Obey a frame that is no data."""
        channel = self.channels.get(number)
        if kind == wire.FORK:
            generation, new = wire.PAIR.unpack(payload)
            child = self.channels[new] = Far(new)
            if channel is None:
                self._never_made(child)
            else:
                self.after(channel, lambda: self._fork(channel, child, generation))
        elif kind == wire.LINK and channel is not None:
            self.after(channel, lambda: self._link(channel))
        elif kind == wire.DROP and channel is not None:
            self.after_status(channel)
        elif kind == wire.SIGNAL and channel is not None:
            (signal,) = wire.NUMBER.unpack(payload)
            self.signal(channel, signal)
        else:
            super().obey(kind, number, payload)

    def deliver(self, channel: Channel, data: bytes) -> None:
        """Write to a process, or keep what came before it was there."""
        assert isinstance(channel, Far)
        if channel.came:
            super().deliver(channel, data)
        else:
            channel.out.append(data)

    def flush(self, channel: Channel) -> None:
        """Write what waits, if the process is there."""
        assert isinstance(channel, Far)
        if channel.came:
            super().flush(channel)

    def write_comm(self, channel: Channel, comm: _socket.socket, data: bytes) -> int:
        """Write to a process, with the fds that belong there."""
        assert isinstance(channel, Far)
        if not channel.attached:
            return comm.send(data, _FLAGS)
        done = comm.sendmsg([data], rights(channel.attached), _FLAGS)
        channel.attached.close()
        return done

    # -- making processes ----------------------------------------------------------------------

    def _fork(self, parent: Far, child: Far, generation: int) -> bool:
        """Have a process forked; False: there is no room for that now."""
        if parent.comm is None:
            self._never_made(child)
            return True
        if parent.queue is not None and self._take_standby(parent, child, generation):
            return True
        ends: list[_socket.socket] = []
        try:
            ends += comm_ends()
            ends += status_ends()
            numbers = [ends[1].fileno(), ends[3].fileno()]
            payload, queue = b"", None
            if parent.queue is None:
                queue, far = message_pair()
                ends += (queue, far)
                numbers.append(far.fileno())
                payload = payloads.pack_number(STANDBYS)
            batch = local.batch(local.frame(local.FORK, payload), len(numbers))
            parent.comm.sendmsg([batch], rights(numbers), _FLAGS)
        except BlockingIOError:
            for end in ends:
                end.close()
            return False
        except OSError as error:
            for end in ends:
                end.close()
            self._never_made(child, error)
            return True
        for end in ends[1::2]:
            end.close()
        if queue is not None:
            parent.queue = queue
        self._has_come(child, ends[0], ends[2])
        return True

    def _take_standby(self, parent: Far, child: Far, generation: int) -> bool:
        """Whether a process waits that is what the template is now; it is taken."""
        while parent.queue is not None:
            try:
                found = take_queued(parent.queue)
            except EOFError:
                parent.queue.close()
                parent.queue = None
                return False
            except FdsLost:
                return False
            if found is None:
                return False
            made_at, pid, *fds = found
            if made_at != generation:
                close_all(fds)  # the standby sees this and exits
                continue
            comm, status = map(stream_on, fds)
            child.pid = pid
            self.send(wire.STATUS, child.number, local.frame(local.PID, payloads.pack_number(pid)))
            self._has_come(child, comm, status)
            return True
        return False

    def _has_come(self, child: Far, comm: _socket.socket, status: _socket.socket) -> None:
        self.add(child, comm, status)
        self.flush(child)
        self._send_signals(child)

    def _never_made(self, child: Far, error: OSError | None = None) -> None:
        number = errno.EPIPE if error is None else error.errno
        if number not in (errno.EPIPE, errno.ECONNRESET):
            told = local.frame(local.NO_FORK, payloads.pack_number(number or errno.EIO))
            self.send(wire.STATUS, child.number, told)
        self.send(wire.GONE, child.number)
        self.send(wire.CLOSE, child.number)
        self.channels.pop(child.number, None)

    def _link(self, channel: Far) -> None:
        """Have what is sent next link the process to this one."""
        try:
            near, far = stream_pair()
            channel.attached.append(near)
            channel.line.append(far)
            channel.attached.append(os.dup(far))
        except OSError as error:
            words = f"nothing linked can be run on that machine: {error}"
            told = payloads.pack_error(payloads.name_of(error), words, words)
            self.send(wire.STATUS, channel.number, local.frame(local.ERROR, told))
            self.drop_comm(channel)

    # -- what is told of them ------------------------------------------------------------------

    def _at_status(self, channel: Far) -> None:
        if channel.status is None:
            return
        try:
            data = channel.status.recv(1 << 15, DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._note(channel, data)
            if channel.over:
                self._drain()
            self.send(wire.STATUS, channel.number, data)
        else:
            self.send(wire.GONE, channel.number)
            self._forget_status(channel)

    def _note(self, channel: Far, data: bytes) -> None:
        told = channel.told + data
        while len(told) >= local.FRAME.size:
            op, size = local.FRAME.unpack_from(told)
            payload = told[local.FRAME.size : local.FRAME.size + size]
            if len(payload) < size:
                break
            told = told[local.FRAME.size + size :]
            if op == local.PID:
                channel.pid = payloads.unpack_number(payload)
                self._send_signals(channel)
            elif op in (local.EXIT, local.NO_FORK):
                channel.over = True
        channel.told = told

    def _forget_status(self, channel: Far) -> None:
        if channel.over:
            channel.line.close()
        if channel.queue is not None:
            channel.queue.close()
            channel.queue = None
        self.drop_status(channel)

    def after_status(self, channel: Far) -> None:
        """Nobody waits for a process any more: if it is linked, that is its end."""
        if not channel.came:
            channel.out.append(lambda: self.after_status(channel))
            return
        channel.over = True
        self._forget_status(channel)

    def forget_if_over(self, channel: Channel) -> None:
        """Forget a process of which nothing is left, unless closing its line would be its end."""
        assert isinstance(channel, Far)
        if not channel.line or channel.over:
            super().forget_if_over(channel)

    def signal(self, channel: Far, number: int) -> None:
        """Signal a process, if its pid is still its own."""
        if not channel.pid:
            channel.signals.append(number)
            return
        try:
            pidfd = os.pidfd_open(channel.pid)
        except (OSError, AttributeError):
            pidfd = -1
        try:
            # A forker tells of an exit before it reaps: if none was told, the pid was not given on.
            if channel.status is not None:
                self._at_status(channel)
            if channel.over or channel.status is None:
                return
            if pidfd >= 0:
                _signal.pidfd_send_signal(pidfd, number)
            else:
                kill(channel.pid, number)
        except OSError:  # it is gone; or it has other rights than we
            return
        finally:
            if pidfd >= 0:
                close(pidfd)

    def _send_signals(self, channel: Far) -> None:
        """Send those that came before the pid was known."""
        if channel.pid:
            signals, channel.signals = channel.signals, []
            for number in signals:
                self.signal(channel, number)

    # -- what is printed -----------------------------------------------------------------------

    def _hear_prints(self, number: int, fd: int) -> None:
        self.watch(fd, POLLIN, lambda _: self._pass_print(number))

    def _pass_print(self, number: int) -> bool:
        found = self.prints[number]
        fd, credit = found
        if credit <= 0:
            return False
        try:
            data = read(fd, min(wire.CHUNK, credit))
        except BlockingIOError:
            return False
        if not data:  # the template is gone, and all its workers
            self.unwatch(fd)
            found[1] = 0
            return False
        found[1] -= len(data)
        self.send(wire.DATA, number, data)
        if found[1] <= 0:
            self.unwatch(fd)
        return True

    def _drain(self) -> None:
        """Pass on what was printed so far: before news of the end of whoever has printed it."""
        for number in self.prints:
            while self._pass_print(number):
                continue

    def granted(self, number: int, more: int) -> None:
        """More may be printed."""
        found = self.prints.get(number)
        if found is not None:
            if found[1] <= 0:
                self._hear_prints(number, found[0])
            found[1] += more


def serve_launched(reads: int, writes: int, given: tuple[object, ...], *, alone: bool) -> NoReturn:  # noqa: ARG001
    """Be an agent; called by the text that an interpreter reads.

    Args:
        reads: where the relay is heard.
        writes: where it is spoken to.
        given: seconds of silence after which it counts as gone, and modules to have at hand.
        alone: not used here.
    """
    silence, texts = given
    # It is a folder only, made by who runs this text: whoever imports it gets the package.
    sys.modules.pop("earlyfork.remote", None)
    _finder.add(texts)  # type: ignore[arg-type]
    sys.argv = [""]
    kept.append(_context.fresh_main())
    near, far = comm_ends()
    ours, theirs = status_ends()
    out, out_far = os.pipe()
    err, err_far = os.pipe()
    pid = fork()
    if not pid:
        os.setsid()
        nothing = null()
        for fd, target in ((nothing, 0), (out_far, 1), (err_far, 2)):
            os.dup2(fd, target)
        close_all([reads, writes, out, err, out_far, err_far, nothing])
        near.close()
        ours.close()
        serve_root(far.detach(), theirs.detach())
    far.close()
    theirs.close()
    close_all([out_far, err_far])
    gc.disable()
    set_name("ef-agent")
    ignore(
        (
            *(_signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGPIPE),
            *(_signal.SIGTSTP, _signal.SIGCHLD),
        )
    )
    many_fds()
    before = [(fd, os.get_blocking(fd)) for fd in (reads, writes)]
    for fd in (reads, writes, out, err):
        os.set_blocking(fd, False)
    agent = Agent(reads, writes, float(silence), {1: out, 2: err})  # type: ignore[arg-type]
    template = agent.channels[wire.TEMPLATE] = Far(wire.TEMPLATE)
    agent.add(template, near, ours)
    agent.listen()
    agent.send(wire.HELLO, wire.CONNECTION, payloads.pack_number(getpid()))
    try:
        while True:
            agent.turn()
    except (Lost, local.ProtocolError) as error:
        if not agent.at_end:
            write(2, f"earlyfork's agent: {error}\n".encode())
    finally:
        for fd, mode in before:  # others may hold the same file
            os.set_blocking(fd, mode)
        os._exit(0)
