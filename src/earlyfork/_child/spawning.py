"""A root template executes a command itself: by vfork, so nothing of its memory is copied.

Asked for by EXEC at a root template, with the far ends of comm and status first. The function in C
by which `subprocess` does it is used. Whatever is out of the ordinary is declined (ELSEWHERE on
comm); then the owner has the command executed by a process of its own.
"""

from __future__ import annotations

import _operator
import _signal
import os
import sys

from earlyfork._child import rights
from earlyfork._child.children import REFILL_AFTER
from earlyfork._child.executing import candidates, environment, say
from earlyfork._child.guard import BLOCKED
from earlyfork._child.here import here
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close
from earlyfork._shared.sockets import Fds, stream_on, write_status
from earlyfork._shared.surroundings import null_fd

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
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
    """This is not for the template itself."""


def spawn(server: Server, command: payloads.Command, senders: set[Sender]) -> None:
    """Execute a command; its comm and status are the first two fds of the batch."""
    comm = stream_on(server.fds.take())
    try:
        with server.fds, Fds((server.fds.take(),)) as status:
            _spawn(server, command, senders, comm, status)
    except _Unusual:
        say(comm, wire.ELSEWHERE)
    except OSError:  # no process to be had: which was told
        return
    finally:
        comm.close()


def _spawn(
    server: Server,
    command: payloads.Command,
    senders: set[Sender],
    comm: _socket.socket,
    status: Fds,
) -> None:
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
    with came, Fds([folder] if folder >= 0 else ()), Fds() as streams:
        for kind in command.streams:
            if kind == payloads.NEXT_FD:
                streams.append(came.take())
            elif kind == payloads.NULL:
                streams.append(null_fd())
        fds = iter(streams)
        numbers = [-1 if kind == payloads.KEEP else next(fds) for kind in command.streams]
        made: list[int] = []
        try:
            _call(fork_exec, _arguments(command, numbers, status[0], comm.fileno()), folder, made)
        except OSError as error:
            write_status(status[0], wire.NO_FORK, payloads.pack_number(error.errno or 0))
            raise
        finally:
            for pid in made:
                kids.status[pid] = status.take()
                write_status(kids.status[pid], wire.PID, payloads.pack_number(pid))
                say(comm, wire.EXECUTED)  # now: whoever waits goes on beside what is left to do
    kids.plan_refill(REFILL_AFTER)


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
            except OSError:  # it says so elsewhere
                raise _Unusual from None
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
