"""A root template executes a command itself: by vfork, so nothing of its memory is copied.

Asked for by SPAWN, with the far end of status first. The function in C by which
`subprocess` does it is used; what is usual never comes here where there is the part in C, which
does it alone (`command_asked` in src/quick/command.c). Whatever is out of the ordinary is declined
(ELSEWHERE); then the owner has the command executed by a process of its own.
"""

from __future__ import annotations

import _operator
import _signal
import os
import sys

from earlyfork._child import rights
from earlyfork._child.executing import candidates, environment
from earlyfork._child.guard import BLOCKED
from earlyfork._child.here import here
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close, read, waitpid
from earlyfork._shared.sockets import Fds, write_status
from earlyfork._shared.surroundings import null_fd

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from earlyfork._child.server import Server

    Sender = tuple[int, int, int] | None

#: Signals that a root template blocks, and the command must not.
_TO_UNBLOCK = BLOCKED | {_signal.SIGTERM}
#: What an interpreter ignores, and `fork_exec` gives its default.
_RESTORED = {_signal.SIGPIPE, getattr(_signal, "SIGXFSZ", _signal.SIGPIPE)}
#: A handler in C that does nothing, so that a signal of the terminal does nothing to a template.
_do_nothing = _operator.is_


class _Unusual(Exception):  # noqa: N818 - no error: it goes another way
    """There will be no command, or it is not for the template itself: what its owner is told."""

    def __init__(self, op: int = wire.ELSEWHERE, number: int = 0) -> None:
        super().__init__()
        self.op = op
        self.number = number


def spawn(server: Server, command: payloads.Command, senders: set[Sender]) -> None:
    """Execute a command; the far end of its status socket is the first fd of the batch."""
    with server.fds, Fds((server.fds.take(),)) as status:
        try:
            pid = _spawn(server, command, senders, status[0])
        except _Unusual as error:
            write_status(status[0], error.op, payloads.pack_number(error.number))
        except OSError as error:  # no process to be had
            write_status(status[0], wire.NO_FORK, payloads.pack_number(error.errno or 0))
        else:
            server.kids.status[pid] = status.take()
            write_status(server.kids.status[pid], wire.PID, payloads.pack_number(pid))


def _spawn(server: Server, command: payloads.Command, senders: set[Sender], status: int) -> int:
    """The pid of the command, which runs."""
    kids = server.kids
    if command.numbers or command.prepare or command.link != payloads.UNLINKED:
        raise _Unusual
    if not all(rights.are_those(sender, here.rights) for sender in senders) or _ignores():
        raise _Unusual
    try:
        fork_exec = __import__("_posixsubprocess").fork_exec
        server.be_forker()
    except (ImportError, OSError):
        raise _Unusual from None
    if kids.crowded or kids.lingering:
        raise _Unusual
    came = Fds(server.fds.take() for _ in range(command.fds))
    folder = came.pop(command.streams.count(payloads.NEXT_FD)) if command.cwd else -1
    with came, Fds([folder] if folder >= 0 else ()), Fds() as streams, Fds(os.pipe()) as pipe:
        for kind in command.streams:
            if kind == payloads.NEXT_FD:
                streams.append(came.take())
            elif kind == payloads.NULL:
                streams.append(null_fd())
        fds = iter(streams)
        numbers = [-1 if kind == payloads.KEEP else next(fds) for kind in command.streams]
        made: list[int] = []
        _call(fork_exec, _arguments(command, numbers, status, pipe[1]), folder, made)
        close(pipe.pop())
        told = read(pipe[0], 4096)  # ends with the exec
        if told:
            waitpid(made[0], 0)
            raise _unexecuted(told)
        return made[0]


def _unexecuted(told: bytes) -> _Unusual:
    """What the function in C says of a failure: its class, the errno in hex, where it was."""
    _, number, place = (*told.split(b":", 2), b"0", b"")[:3]
    op = wire.NOT_SET if place.startswith(b"noexec") else wire.NOT_EXECUTED
    return _Unusual(op, int(number, 16))


def _ignores() -> bool:
    """Whether code that was imported here ignores signals, which the command would inherit."""
    return any(
        _signal.getsignal(number) == _signal.SIG_IGN and number not in _RESTORED
        for number in range(1, _signal.NSIG)
    )


def _arguments(
    command: payloads.Command, streams: list[int], closed: int, comm: int
) -> tuple[Any, ...]:
    """What `fork_exec` is given, in the order of its version. The command has `closed` no more."""
    env = environment(command)
    listed = None if env is None else [_entry(*item) for item in env.items()]
    more = () if sys.version_info < (3, 11) else (-1,)  # no process group
    vforks = () if sys.version_info < (3, 11) else (True,)
    stdin, stdout, stderr = streams
    return (
        *(command.argv, tuple(candidates(command)), True, (comm,), None, listed),
        *(stdin, -1, -1, stdout, -1, stderr, closed, comm, True, command.session),
        *(*more, None, None, None, command.umask, None, *vforks),
    )


def _entry(name: str | bytes, value: str | bytes) -> bytes:
    return os.fsencode(name) + b"=" + os.fsencode(value)


def _call(
    fork_exec: Callable[..., int], arguments: tuple[Any, ...], folder: int, made: list[int]
) -> None:
    """Call it with no signal blocked, since the command inherits that, and in another directory.

    Args:
        fork_exec: what is called.
        arguments: what it is given.
        folder: the directory; -1: this process's own.
        made: the pid is added here as soon as there is one.

    Raises:
        OSError: the kernel refuses a process.
    """
    handlers = {number: _signal.signal(number, _do_nothing) for number in _TO_UNBLOCK}
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    here_too = os.open(".", getattr(os, "O_PATH", 0) | os.O_CLOEXEC) if folder >= 0 else -1
    try:
        if folder >= 0:
            try:
                os.fchdir(folder)
            except OSError as error:
                raise _Unusual(wire.NOT_THERE, error.errno or 0) from None
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        made.extend(map(fork_exec, *((argument,) for argument in arguments)))
    except TypeError:  # an interpreter that has another order of arguments
        raise _Unusual from None
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        if here_too >= 0:
            os.fchdir(here_too)
            close(here_too)
        for number, handler in handlers.items():
            _signal.signal(number, handler)
