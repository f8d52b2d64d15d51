"""The owner's side of a status socket: what is known of one process (how it waits: `waiting`).

Longer than other files, since it is one class: whatever is told there.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select

from earlyfork._ground import platform, stack, starters
from earlyfork._ground.errors import (
    EarlyForkError,
    LaunchError,
    ProcessLost,
    ProcessStateError,
    RemoteError,
    TemplateDied,
)
from earlyfork._owner.own import Own, boot_time, closed_by_program, open_pidfd, owned
from earlyfork._owner.waiting import Host, Waiting, readable
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock, own
from earlyfork._shared.sockets import hung_up, stream_on

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

#: `select.epoll`, which gevent takes away; None where there is none.
new_epoll: type[select.epoll] | None = own(select, "epoll")
#: How often one look reads: who never stops talking is not listened to for ever.
MOST_READS = 4


class Watch(Waiting):
    """One process as seen from its owner."""

    # Defaults on the class, since making a process must cost little.
    returncode: int | None = None
    #: What code in the process raised, if it did.
    error: RemoteError | None = None
    #: Why the process was never made, if the kernel refused it.
    refused: OSError | None = None
    #: Of a command that a root template did not execute: what it said instead, and the errno.
    unexecuted: tuple[int, int] = (0, 0)
    #: The last token of READY that was answered.
    said: int = 0
    #: Of a launched root: the pid of the process that was executed, until it has been waited for;
    #: and what was executed, for people.
    starter = -1
    started_by = ""
    #: Of a template: what its clones were told to do (HABITS); whether it is as it was launched.
    habits: frozenset[int] = frozenset()
    is_bare = False
    suspect = False  # a child of this template was lost: it is about to be gone itself
    #: Whether the process is on another machine: its pid means nothing here. And whether what it
    #: sends may be unpickled.
    is_far = False
    is_trusted = True
    #: The far end of a linked process's second line: when nobody holds a copy any more, the kernel
    #: kills that process. So it is kept until that is known to be dead, even if it is lost.
    _line: Own | None = None
    #: What was read, and not understood yet.
    _chunks: list[bytes] | None = None
    #: Why nothing that is read can be relied on any more, if so.
    _breach: EarlyForkError | OSError | None = None
    _is_sentinel = False
    _is_killed = False  # while it was lost
    _lived_at = 0.0  # the last time that its pid was its own for sure
    _sentinel: Own | None = None
    _pid: int | None = None
    #: Of the process that forked this one. When this one never came to be, the reason is there.
    _forker: Watch | None = None
    # No __init__, and no fd at first: it is owned in the same step in which it comes to be.

    # -- reading ------------------------------------------------------------------------------

    def _read_all(self) -> None:
        chunks = self._chunks
        if chunks is None:
            chunks = self._chunks = []
        for _ in range(MOST_READS):
            if self._ended:
                return
            try:
                more = self._receive(chunks)
                if more is None:
                    if self._pid is not None:
                        self._lived_at = boot_time()
                    return
                self._take(chunks)
            except wire.ProtocolError as error:
                self._fail(error)
                return
            except OSError as error:
                stack.pass_on(error)
                self._fail(closed_by_program("this process's status socket"))
                return
            if not more:
                self._ended = True
                self._end_of_starter()
                if self._forker is not None and self.returncode is None:
                    self._forker.suspect = True

    def _receive(self, chunks: list[bytes]) -> bool | None:
        return self.read(chunks)

    def _fail(self, why: EarlyForkError | OSError) -> None:
        """Believe and read nothing more."""
        self._breach = why
        self._ended = True

    def _take(self, chunks: list[bytes]) -> None:
        # What is interrupted is done again: each of these may be told twice.
        buffer = b"".join(chunks)
        while len(buffer) >= wire.FRAME.size:
            op, size = wire.FRAME.unpack_from(buffer)
            if op not in TOLD or size > wire.MAX_TEXT:
                raise wire.ProtocolError(f"a frame {op} of {size} bytes is none of a status socket")
            end = wire.FRAME.size + size
            if len(buffer) < end:
                break
            payload, buffer = buffer[wire.FRAME.size : end], buffer[end:]
            TOLD[op](self, payload)
        chunks[:] = (buffer,)

    def _told_pid(self, payload: bytes) -> None:
        pid = payloads.unpack_number(payload)
        if pid < 2 or self._pid not in (None, pid):
            raise wire.ProtocolError(f"{pid} is not the pid of this process")
        self._pid = pid
        self._end_of_starter()

    def _told_exit(self, payload: bytes) -> None:
        code = payloads.unpack_number(payload)
        if not -128 < code < 256:
            raise wire.ProtocolError(f"{code} is no status of a process")
        self.returncode = code
        self._ended = True
        self.drop_line()
        if self._is_sentinel:  # pragma: no cover - systems without epoll
            self._stay_readable()

    def _told_refusal(self, payload: bytes) -> None:
        number = payloads.unpack_number(payload)
        if not 0 < number < 4096:
            raise wire.ProtocolError(f"{number} is no errno")
        why = os.strerror(number) if self.error is None else self.error.args[0]
        self.refused = OSError(number, f"the template could not fork a process: {why}")
        self.refused.__cause__ = self.error
        self._ended = True

    def _told_unexecuted(self, op: int, payload: bytes) -> None:
        number = payloads.unpack_number(payload)
        if not 0 <= number < 4096:
            raise wire.ProtocolError(f"{number} is no errno")
        self.unexecuted = op, number
        self.refused = OSError(number, os.strerror(number))
        self._ended = True

    def _told_lost(self, payload: bytes) -> None:
        type_name, summary, _ = payloads.unpack_error(payload)
        name, number = payloads.errno_of(type_name)
        if number is not None:
            self._fail(OSError(number, os.strerror(number), summary))
        elif name == "LaunchError":
            self._fail(LaunchError(summary))
        elif self._pid is None:
            self._fail(TemplateDied(f"the process was never made: {summary}"))
        else:
            self._fail(ProcessLost(summary, self._pid))

    # The next two come from the process itself, and the code in it may say anything.

    def _told_ready(self, payload: bytes) -> None:
        with contextlib.suppress(wire.ProtocolError):
            self.said = payloads.unpack_number(payload)

    def _told_error(self, payload: bytes) -> None:
        type_name, summary, text = payloads.unpack_error(payload)
        name, errno = payloads.errno_of(type_name)
        self.error = RemoteError(summary, name, text, errno)

    def _end_of_starter(self) -> None:
        """Wait for the process that was executed, which ends when its fork begins to serve."""
        root = self._forker or self
        if root.starter > 0:
            starter, root.starter = root.starter, -1
            code = starters.collect(starter)
            if code:
                root.started_by += (
                    f", which ended with status {code} before it could serve (is it a Python, and "
                    "3.10 or later?)"
                )

    # -- what is known ------------------------------------------------------------------------

    def of_clone(self) -> Watch:
        """The watch, as yet without an fd, on a process that will be forked from this one."""
        found = Watch()
        found._forker = self
        return found

    def refresh(self) -> None:
        """Take in what has arrived, unless nothing more can come. Waits for nothing."""
        if not self._ended and not self.foreign:
            self.look()

    @property
    def over(self) -> bool:
        """Whether nothing more will be heard: ended, never begun, lost or closed."""
        return self._ended

    def may_live(self) -> bool:
        """Whether a linked process may need this watch: closing it would be the process's end."""
        line = self._line
        if self._ended and line is not None and not (line.is_own() and not hung_up(line.fd)):
            self.drop_line()
        return not self._ended or self._line is not None

    @property
    def line(self) -> int:
        """The fd of the second line, or -1."""
        return -1 if self._line is None else self._line.fd

    def hold_line(self, far: Own) -> None:
        """Hold a copy of the second line's far end."""
        self._line = owned(os.dup, far.fd)

    def drop_line(self) -> None:
        """Let go of the second line."""
        self._line = None

    @property
    def lost(self) -> bool:
        """Whether the end of the process can't be known any more."""
        if not self._ended or self.returncode is not None or self.refused is not None:
            return False
        return self.fd >= 0 or self._breach is not None

    def known_pid(self) -> int | None:
        """The pid if it has arrived."""
        return self._pid

    def pid(self) -> int:
        """The pid; waits for the template to say it.

        Raises:
            OSError: the kernel, or the template, refused to make the process.
            TemplateDied: the process never came to be.
        """
        if self._pid is None:
            self.until(lambda: self._pid is not None, None)
            if self._pid is None:
                raise self.failure()
        return self._pid

    def failure(self) -> Exception:
        """Why nothing more will be heard of a process that has no exit status."""
        if self.refused is not None:
            return self.refused
        if self._breach is not None:
            return _fresh(self._breach)
        if self._pid is not None:
            lost = ProcessLost(
                f"nobody knows how process {self._pid} ended or will end: its template was killed, "
                "or does not speak for it any more",
                self._pid,
            )
            lost.__cause__ = self.error
            return lost
        if self._forker is None:
            return TemplateDied(f"the process was never made: {self.epitaph()}")
        died = TemplateDied(f"the process was never made: {self._forker.epitaph()}")
        died.__cause__ = self._forker.error
        return died

    def epitaph(self) -> str:
        """What is known of the death of this template; waits a second for news of it to arrive."""
        with contextlib.suppress(ProcessStateError):
            self.until(lambda: self.error is not None, Clock.monotonic() + 1)
        name = f"its template (pid {self._pid})" if self._pid else "its template"
        if self.refused is not None:
            return f"{name} was never made either: {self.refused.strerror}"
        if self.error is not None:
            return f"{name} had failed: {self.error.args[0]}"
        if self.returncode is not None:
            return f"{name} had ended with status {self.returncode}"
        if self._breach is not None:
            return str(self._breach)
        if self.started_by:
            return f"{name}, launched as {self.started_by}, is gone"
        return f"{name} is gone"

    def has_exited(self, timeout: float | None = 0) -> bool:
        """Whether the process has ended, waiting up to `timeout` seconds for it.

        Raises:
            ProcessLost, TemplateDied, OSError: it can't be known, or there never was a process.
        """
        deadline = None if timeout is None else Clock.monotonic() + timeout
        if timeout == 0:
            self.look()
        else:
            self.until(lambda: False, deadline)
        if self.returncode is not None:
            return True
        if not self._ended or (timeout != 0 and not self._outlived(deadline)):
            return False
        raise self.failure()

    def _outlived(self, deadline: float | None) -> bool:
        """Wait until a lost process that was killed here is gone; False at the deadline.

        True at once if it was not killed, or can't be waited for.
        """
        pidfd = Own()
        if self._is_killed and self.lost and self._pid is not None:
            open_pidfd(pidfd, self._pid)
        if pidfd.fd < 0 or not self._is_that_old():
            return True
        while not readable(pidfd.fd, None if deadline is None else deadline - Clock.monotonic()):
            if deadline is not None and Clock.monotonic() >= deadline:
                return False
        return True

    def as_sentinel(self) -> int:
        """An fd that becomes readable when the process is gone."""
        if new_epoll is not None:
            # Asked for nothing, it still tells when the forker closes the socket, and only that.
            with Host.lock:
                if self._sentinel is None:
                    epoll = new_epoll()
                    epoll.register(self.fd, 0)
                    self._sentinel = owned(os.dup, epoll.fileno())
                return self._sentinel.fd
        self.pid()  # takes this out of the socket, so that only the end (or an error) is left
        self._is_sentinel = True
        if self._ended:
            self._stay_readable()
        return self.fd

    def _stay_readable(self) -> None:  # pragma: no cover - systems without epoll
        # The exit was read out of the socket, and the forker may not have closed its end yet.
        sock = stream_on(self.fd)
        with contextlib.suppress(OSError):  # it has
            sock.shutdown(_socket.SHUT_RD)
        sock.detach()

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; False if it is gone.

        Raises:
            ProcessLost: it can't be told whether the pid is still its own.
            ProtocolError: the pid is one that who said it has no say about.
        """
        return platform.send_signal(self.pid(), number, self._is_same)

    def _is_same(self) -> bool:
        # A forker tells the exit before it reaps. So while no exit (and no end of a root's own
        # socket) has arrived, the pid has not been given to anybody else.
        self.look()
        if self.lost:
            if self._breach is not None or not self._is_that_old():
                raise self.failure()
            self._is_killed = True
            return True
        if self._ended:
            return False
        teller, pid = self.told_by(), self.pid()
        if teller is not None and not platform.descends(pid, teller):
            raise wire.ProtocolError(
                f"process {pid} is no descendant of {teller or 'anybody'}, who says that it is the "
                "process that was taken up: it is not signalled"
            )
        return True

    def _is_that_old(self) -> bool:
        """Whether the process that has the pid now had it when this one was last known to live.

        Nobody tells any more whether it was reaped. Who gets its pid after that was started later,
        but for the 10 ms in which start times are told. One that was never looked at is granted a
        second, since a template may be busy when it is asked.
        """
        found = None if self._pid is None else platform.parent_and_start(self._pid)
        lived_at = self._lived_at or self.born + 1
        return found is not None and found[1] <= lived_at and self.told_by() is None

    def told_by(self) -> int | None:
        """The stranger who says what is known of this process; None if that is no stranger."""
        return None if self._forker is None else self._forker.told_by()

    # -- the fd -------------------------------------------------------------------------------

    def own_fds(self) -> set[int]:
        """All fds that this object owns: who looks for leaks passes over them."""
        found = {self.fd, self.line}
        if self._sentinel is not None:
            found.add(self._sentinel.fd)
        return found

    def give_fd(self) -> Own:
        """Give the fd to the caller and stop watching."""
        self._ended = True
        return owned(self.release)

    def disown(self) -> None:
        """Forget fds that somebody else closed."""
        self._ended = True
        for end in (self, self._line, self._sentinel):
            if end is not None:
                end.release()
        self._line = self._sentinel = None

    def let_go(self) -> None:
        """Before the handle goes: the sentinel can't tell whether it is still its own."""
        if self._sentinel is not None and not self.is_own():
            self.disown()

    def close(self) -> None:
        """Stop watching."""
        self._ended = True
        self.let_go()
        self._sentinel = None
        self.drop_line()
        super().close()


def _unexecuted(op: int) -> Callable[[Watch, bytes], None]:
    return lambda watch, payload: watch._told_unexecuted(op, payload)


def _fresh(error: EarlyForkError | OSError) -> Exception:
    """The same error once more: one that is raised refers to all that it passes."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    if isinstance(error, ProcessLost):
        return ProcessLost(error.args[0], error.pid)
    return type(error)(*error.args)


#: What each frame on a status socket does, by its op.
TOLD: dict[int, Callable[[Watch, bytes], None]] = {
    wire.PID: Watch._told_pid,
    wire.EXIT: Watch._told_exit,
    wire.NO_FORK: Watch._told_refusal,
    wire.LOST: Watch._told_lost,
    wire.IS_READY: Watch._told_ready,
    wire.ERROR: Watch._told_error,
    **{op: _unexecuted(op) for op in wire.UNEXECUTED},
}
