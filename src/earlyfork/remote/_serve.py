"""What a relay's process runs: the command, the agent's beginning, what is printed, and the end.

It runs no code of users, and unpickles nothing that comes from over there. The file is longer than
others, since all of it is about one object: the connection, from its command to its end.
"""

from __future__ import annotations

import _signal
import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from earlyfork import command_environment
from earlyfork._child import descendants
from earlyfork._child.here import set_name
from earlyfork._child.linked import signal_child
from earlyfork._shared import payloads
from earlyfork._shared import wire as local
from earlyfork._shared.posix import Clock, close, posix_spawn, read, waitpid, write
from earlyfork._shared.sockets import POLLIN, POLLOUT, poll, stream_on, write_status
from earlyfork.remote import _text, _words
from earlyfork.remote import _wire as wire
from earlyfork.remote._mux import Lost, ignore, many_fds
from earlyfork.remote._relay import Near, Relay

if TYPE_CHECKING:
    import _socket
    from typing import Any

#: How much is kept of what came before the token, and of the command's stderr.
TAIL = 2000
#: How long the command may take to end when its streams have ended; and again after SIGTERM.
GRACE = 1.0
#: Why the connection has ended, if the command has.
ENDED = "it has ended"
#: So much is written at once where a write might wait: a pipe that can be written to takes it.
PIPE_BUF = 4096


class Sink:
    """Where something is written that may not be read: one of this process's own streams."""

    def __init__(self, fd: int, relay: Connection, number: int) -> None:
        self.fd, self.relay, self.number = fd, relay, number
        self.out: list[bytes] = []
        self.owed = 0
        self.watched = False
        self.dead = False

    def put(self, data: bytes, *, counts: bool) -> None:
        """Write, now or when there is room; `counts`: it came from over there."""
        self.out.append(data)
        if counts:
            self.owed += len(data)
        if len(self.out) == 1:
            self.flush()

    def flush(self, _events: int = 0) -> None:
        """Write as much as goes without a wait."""
        while self.out and not self.dead and self._has_room():
            data = self.out[0]
            try:
                done = write(self.fd, data[:PIPE_BUF])
            except BlockingIOError:
                break
            except OSError:  # nobody reads there any more
                self.dead = True
                break
            if done == len(data):
                self.out.pop(0)
            else:
                self.out[0] = data[done:]
        if self.dead:
            self.out.clear()
        self._watch(wanted=bool(self.out))
        if not self.out:
            if self.owed:
                owed, self.owed = self.owed, 0
                self.relay.send(wire.CREDIT, self.number, wire.NUMBER.pack(owed))
            self.relay.sink_is_free(self)

    def _has_room(self) -> bool:
        return bool(poll([(self.fd, POLLOUT)], 0))  # or nobody reads there, which write() tells

    def _watch(self, *, wanted: bool) -> None:
        if wanted and not self.watched:
            self.relay.watch(self.fd, POLLOUT, self.flush)
        elif self.watched and not wanted:
            self.relay.unwatch(self.fd)
        self.watched = wanted


class Connection(Relay):
    """A relay with its command."""

    def __init__(
        self, reads: int, writes: int, settings: dict[str, Any], errors: int, pid: int
    ) -> None:
        super().__init__(reads, writes, settings["timeout"])
        #: The command's pid; its status; where its stderr is read, or -1; what shows its end.
        self.pid = pid
        self.status: int | None = None
        self.stderr = -1
        self.pidfds: list[int] = []
        self.corked = True
        self.sinks = {
            wire.STREAMS[1]: Sink(os.dup(1), self, wire.STREAMS[1]),
            wire.STREAMS[2]: Sink(errors, self, wire.STREAMS[2]),
        }
        #: What came before the token, and what the command has said on stderr.
        self.noise = b""
        self.said = b""
        self.wake_at = Clock.monotonic() + settings["timeout"]

    def print(self, number: int, payload: bytes) -> None:
        """Workers have printed something."""
        sink = self.sinks.get(number)
        if sink is not None:
            if number == wire.STREAMS[2]:
                self.said = (self.said + payload)[-TAIL:]
            sink.put(payload, counts=True)

    # -- the beginning -------------------------------------------------------------------------

    def await_token(self, token: bytes, texts: dict[str, tuple[bool, str, bytes]]) -> None:
        """Look for the token in what comes, then send the agent's text."""
        buffer = b""

        def hear(_events: int) -> None:
            nonlocal buffer
            try:
                data = read(self.reads, 1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                raise Lost(f"its output failed: {error.strerror}") from None
            if not data:
                self.at_end = True
                raise Lost("its output has ended")
            buffer += data
            before, found, after = buffer.partition(token)
            said, newline, rest = after.partition(b"\n")
            self.noise = (before if found else buffer)[-TAIL:]
            if not newline:
                if not found:
                    buffer = buffer[-max(TAIL, len(token)) :]
                return
            self.unwatch(self.reads)
            magic, _, suffix = said.strip().partition(b" ")
            if magic == _words.ON_TERMINAL.encode():
                raise Lost(_words.TERMINAL)
            self._boot(_text.boot(magic.decode(), suffix.decode(), self.silence, texts))
            if rest:  # whatever it is, it is none of the agent's, which has heard nothing yet
                self.noise = rest[-TAIL:]
                raise Lost("something else writes to its output")

        self.watch(self.reads, POLLIN, hear)

    def _boot(self, text: bytes) -> None:
        """Send text, and behind it all that was kept back."""
        self.listen()
        self.out.appendleft(text)
        self.waiting += len(text)
        self.uncork()

    # -- the command ---------------------------------------------------------------------------

    def hear_command(self, stderr: int) -> None:
        """Pass on what the command says on stderr, as long as there is room for it."""
        self.stderr = stderr
        os.set_blocking(stderr, False)
        self.watch(stderr, POLLIN, self._hear_stderr)
        with contextlib.suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(self.pid)
            self.pidfds.append(pidfd)
            self.watch(pidfd, POLLIN, lambda _: self._command_ended())

    def _hear_stderr(self, _events: int = 0) -> bool:
        sink = self.sinks[wire.STREAMS[2]]
        if self.stderr < 0:
            return False
        if sink.out:  # goes on when that is written
            self.unwatch(self.stderr)
            return False
        try:
            data = read(self.stderr, PIPE_BUF)
        except BlockingIOError:
            return False
        if not data:
            self.unwatch(self.stderr)
            close(self.stderr)
            self.stderr = -1
            return False
        self.said = (self.said + data)[-TAIL:]
        sink.put(data, counts=False)
        return True

    def sink_is_free(self, sink: Sink) -> None:
        """All that was to be written there is written."""
        if sink.number == wire.STREAMS[2] and 0 <= self.stderr not in self.handlers:
            self.watch(self.stderr, POLLIN, self._hear_stderr)

    def _command_ended(self) -> None:
        """Read what it has left behind, which ends in Lost."""
        handler = self.handlers.get(self.reads)
        try:
            while handler is not None and poll([(self.reads, POLLIN)], 0):
                handler(POLLIN)
                handler = self.handlers.get(self.reads)
        finally:
            self._collect(0)
        raise Lost(ENDED)

    def _collect(self, seconds: float) -> bool:
        """Whether the command has ended, waiting so long for that."""
        if self.pid <= 0 or self.status is not None:
            return True
        if self.pidfds and seconds:
            poll([(self.pidfds[0], POLLIN)], int(seconds * 1000))
        deadline = Clock.monotonic() + (0 if self.pidfds else seconds)
        while True:
            pid, status = waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return True
            if Clock.monotonic() >= deadline:
                return False
            poll([], 10)

    def end_command(self) -> None:
        """End the command, which has seen the end of its input, with all that it has started."""
        if self._collect(GRACE):
            return
        tree = descendants.grab(self.pid)
        for number in (_signal.SIGTERM, _signal.SIGCONT):
            signal_child(self.pid, number)
            descendants.send(tree, number)
        if not self._collect(GRACE):
            tree += descendants.grab(self.pid)
            signal_child(self.pid, _signal.SIGKILL)
        descendants.send(tree, _signal.SIGKILL)
        self._collect(GRACE)

    # -- the end -------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether nobody needs the connection any more."""
        return not self.channels

    def finish(self, why: str, command: str) -> None:
        """End the connection, and tell whoever is left why."""
        self.wake_at = None
        try:
            deadline = Clock.monotonic() + self.silence
            if self.fresh:
                self._send_fresh()
            while not why and self.up and self.out and Clock.monotonic() < deadline:
                self.turn()
        except (Lost, local.ProtocolError):  # nobody is left whom that concerns
            pass
        if self.pid > 0 and (self.at_end or why == ENDED):
            self._collect(GRACE)
        if why:
            self.tell_all(self.epitaph(why, command))
        close(self.writes)
        close(self.reads)
        for sink in self.sinks.values():
            if sink.out and not sink.dead:
                poll([(sink.fd, POLLOUT)], 1000)
                sink.flush()
        if self.pid > 0:
            self.end_command()

    def tell_all(self, why: str) -> None:
        """Tell all owners that nothing more will be known of their processes."""
        for channel in list(self.channels.values()):
            if channel.status is not None:
                name = "LaunchError" if not self.up and channel.number == wire.TEMPLATE else ""
                tell_lost(channel.status, name, why)

    def epitaph(self, why: str, command: str) -> str:
        """Why the connection has ended, with all that is known of it."""
        while self._hear_stderr():
            continue
        if self.status is not None:
            how = f"ended with status {self.status}"
            if self.status < 0:
                how = f"was ended by signal {-self.status}"
            why = f"the command {how}" if self.at_end or why == ENDED else why
        if self.up:
            words = f"the connection through {command} is lost: {why}"
        else:
            words = f"no Python could be started through {command}: {why}"
            if self.noise.strip():
                words += f"\nIts output: {_shown(self.noise)}"
        if self.said.strip():
            words += f"\nThe last words on its stderr:\n{_shown(self.said)}"
        return words


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace").strip()


def tell_lost(status: _socket.socket, name: str, why: str) -> None:
    """Say on a status socket that nothing more will be known, and why."""
    write_status(status.fileno(), local.LOST, payloads.pack_error(name or "Lost", why, why))


def serve(sock: _socket.socket, comm: _socket.socket, status: _socket.socket, *more: Any) -> None:
    """Be a relay, in a process that was made for it.

    Args:
        sock: not used: the owner sees the relay's end at `status`.
        comm: the template's end of its comm.
        status: the same of its status.
        *more: a socket for stderr, if `settings` says so; for `connect_fds` the two fds; then the
            settings.
    """
    *files, settings = more
    errors = files.pop(0).detach() if settings["stderr"] else os.dup(2)
    sock.close()
    set_name("ef-relay")
    ignore(
        (
            *(_signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGPIPE),
            *(_signal.SIGTSTP, _signal.SIGTTOU),
        )
    )
    halves = secrets.token_hex(8), secrets.token_hex(8)
    words = _words.start(settings["python"], halves)
    name = settings["name"]
    stderr = pid = -1
    if settings["command"]:
        argv = _words.line(settings["command"], words, shell=settings["shell"])
        try:
            reads, writes, stderr, pid = _spawn(argv)
        except OSError as error:
            tell_lost(
                status, payloads.name_of(error), f"{name} can't be executed: {error.strerror}"
            )
            os._exit(0)
    else:
        reads, writes = files
        os.set_blocking(reads, False)
    many_fds()
    os.set_blocking(writes, False)
    relay = Connection(reads, writes, settings, errors, pid)
    root = Near(wire.TEMPLATE, stream_on(comm.detach()), stream_on(status.detach()))
    relay.add(root)
    if pid > 0:
        relay.hear_command(stderr)
    else:
        write(writes, _words.shell_line(words))
    why = ""
    try:
        relay.await_token("".join(halves).encode(), _text.package())
        while not relay.over:
            relay.turn()
            if relay.wake_at is not None and Clock.monotonic() >= relay.wake_at:
                raise Lost(
                    f"it was not there within {settings['timeout']:g} seconds (does it wait for "
                    "a password?)"
                )
    except (Lost, local.ProtocolError) as error:
        why = str(error)
    relay.finish(why, name)
    os._exit(0)


def _spawn(argv: list[str]) -> tuple[int, int, int, int]:
    """Execute the command: its output, input, stderr, and its pid."""
    theirs_in, writes = os.pipe()
    reads, theirs_out = os.pipe()
    stderr, theirs_err = os.pipe()
    ends = (theirs_in, theirs_out, theirs_err)
    try:
        pid = _execute(argv, ends)
    except OSError:
        for fd in (*ends, reads, writes, stderr):
            close(fd)
        raise
    for fd in ends:
        close(fd)
    os.set_blocking(reads, False)
    return reads, writes, stderr, pid


def _execute(argv: list[str], streams: tuple[int, int, int]) -> int:
    """Execute a file as `subprocess` finds it, with the errors of that; returns the pid."""
    file = argv[0]
    paths = [file] if os.sep in file else [os.path.join(at, file) for at in os.get_exec_path()]
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    told: OSError | None = None
    last = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            # The signals that this process ignores are ignored there: a Ctrl-C for the program is
            # none for its connection.
            return posix_spawn(
                path,
                argv,
                command_environment(),
                file_actions=actions,
                setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),
            )
        except OSError as error:
            last = error
            if told is None and error.errno not in (errno.ENOENT, errno.ENOTDIR):
                told = error
    raise told or last
