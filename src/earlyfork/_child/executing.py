"""A process becomes a command: what happens between the frame EXEC and the exec itself.

The order is that of `subprocess`: streams and fds, umask, what `prepare` names, signals, the fds
that nobody listed, the exec. On comm the owner hears that it comes to that, and then either the end
of comm, which is close-on-exec, or that it failed.
"""

from __future__ import annotations

import _signal
import errno
import itertools
import os

from earlyfork._child import open_files
from earlyfork._child.ending import flush
from earlyfork._child.guard import BLOCKED, discard_pending
from earlyfork._child.here import Here, here, resolve, tell
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close
from earlyfork._shared.sockets import DONTWAIT, NOSIGNAL, Fds, stream_on
from earlyfork._shared.surroundings import null_fd

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

    from earlyfork._child.server import Server


#: What is said on comm in which case.
_SAID = {
    wire.NOT_EXECUTED: wire.EXECUTED_NOT,
    wire.NOT_THERE: wire.THERE_NOT,
    wire.NOT_SET: wire.SET_NOT,
}


def put_in_place(server: Server, command: payloads.Command, came: Fds) -> None:
    """Give the fds that came with the frame the numbers that the command knows them by."""
    targets: dict[int, int] = {}  # number -> the fd that goes there
    for number, kind in enumerate(command.streams):
        if kind != payloads.KEEP:
            targets[number] = came.take() if kind == payloads.NEXT_FD else null_fd()
    if command.cwd:
        folder = came.take()
        try:
            os.fchdir(folder)
        except OSError as error:
            error.filename = "."
            raise
        close(folder)
    for number in command.numbers:
        targets[number] = came.take()
    in_the_way = {*targets.values(), server.comm_fd, here.up, here.line} & {*targets}
    if in_the_way:
        _move_away(server, targets, in_the_way)
    for number, fd in targets.items():
        os.dup2(fd, number)  # inheritable
    for fd in targets.values():
        close(fd)


def _move_away(server: Server, targets: dict[int, int], in_the_way: set[int]) -> None:
    """Move to higher numbers what would be overwritten: fds that came, and this process's own."""
    import fcntl  # only here: each library that is mapped is a cost

    above = max(targets) + 1

    def moved(fd: int) -> int:
        if fd not in in_the_way:
            return fd
        new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)
        close(fd)
        return new

    for number, fd in targets.items():
        targets[number] = moved(fd)
    here.up = moved(here.up)
    here.line = moved(here.line)
    if server.comm_fd in in_the_way:
        server.comm_fd = moved(server.comm.detach())
        server.comm = stream_on(server.comm_fd)


def run_prepare(server: Server, packed: bytes) -> None:
    """Run what the owner wants to run in the process before it becomes the command."""
    if packed:
        values: tuple[Any, ...] = payloads.unpack_values(packed)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        # All are found before the first one is called, which may give up the right to look.
        functions = [resolve(str(name)) for name in values[::2]]
        for function, given in zip(functions, values[1::2], strict=True):
            function(*given)
        _signal.pthread_sigmask(_signal.SIG_BLOCK, BLOCKED)
    if packed or server.kids.careful:  # code that was sent may have left something unwritten
        flush()
        open_files.write_out([*open_files.found(), *here.files], at_end=True)


def stand(limits: list[tuple[int, int, int]], nice: int, cpus: list[int]) -> None:
    """Take on limits, niceness and CPUs of the caller, as far as this process may."""
    import resource

    for number, *wanted in limits:
        now = resource.getrlimit(number)
        if now != (*wanted,):
            try:
                resource.setrlimit(number, (wanted[0], wanted[1]))
            except ValueError:  # no right to raise it again
                most = resource.RLIM_INFINITY if now[1] < 0 else now[1]
                soft = most if wanted[0] < 0 else min(wanted[0], most)
                resource.setrlimit(number, (soft, most))
    if os.getpriority(os.PRIO_PROCESS, 0) != nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if os.sched_getaffinity(0) != {*cpus}:
        os.sched_setaffinity(0, cpus)


def fresh_signals() -> None:
    """Give every signal its default, then block none.

    A handler would end with the exec; what it was called for before that would be lost.
    """
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def hide_fds(listed: set[int], own: set[int]) -> None:
    """Have the exec close all fds but those that are listed; `own` are closed by it anyway."""
    try:
        found = os.listdir("/proc/self/fd")
    except OSError:  # no /proc: what lies between them is closed at once
        edges = [2, *sorted(fd for fd in listed | own if fd > 2), os.sysconf("SC_OPEN_MAX")]
        for before, after in itertools.pairwise(edges):
            os.closerange(before + 1, after)
        return
    for name in found:
        fd = int(name)
        if fd > 2 and fd not in listed and fd not in own:
            try:
                os.set_inheritable(fd, False)
            except OSError:  # the one that listed them
                continue


def candidates(command: payloads.Command) -> list[bytes]:
    """The paths that a file is looked for at, in the PATH that the command will have."""
    file = command.file
    if b"/" in file:
        return [file]
    path = os.environb.get(b"PATH")
    if command.env is not None:
        found = [entry[5:] for entry in command.env if entry[:5] == b"PATH="]
        path = found[-1] if found else None
    if path is None:
        path = os.defpath.encode()
    return [os.path.join(folder, file) for folder in path.split(b":")]


def environment(command: payloads.Command) -> dict[str, str] | dict[bytes, bytes] | None:
    """What the command gets as its environment; None: this process's own, as it is."""
    listed = command.env
    env = None if listed is None else dict(entry.split(b"=", 1) for entry in listed)
    if Here.for_commands is None:
        return env
    if env is None:
        return Here.for_commands(dict(os.environ))
    return Here.for_commands({os.fsdecode(name): os.fsdecode(env[name]) for name in env})


def execute(server: Server, command: payloads.Command, came: Fds) -> NoReturn:
    """Become a command, or end.

    Raises:
        BaseException: it did not come to the exec, because of this.
    """
    here.doing = os.fsdecode(command.file)
    try:
        put_in_place(server, command, came)
        if command.umask >= 0:
            os.umask(command.umask)
        if command.session:
            os.setsid()
    except OSError as refusal:
        where = wire.NOT_THERE if refusal.filename == "." else wire.NOT_SET
        not_executed(server.comm_fd, command.file, refusal.errno or 0, where)
    discard_pending()
    run_prepare(server, command.prepare)
    fresh_signals()
    listed = {*command.numbers}
    if here.line >= 0:
        os.set_inheritable(here.line, True)  # the kernel's half of being linked hangs on it
        listed.add(here.line)
    hide_fds(listed, {server.comm_fd, here.up})
    paths, env = candidates(command), environment(command)
    say(server.comm, wire.EXECUTES, strict=True)
    error = _exec(paths, command.argv, env)
    not_executed(server.comm_fd, command.file, error.errno or 0, wire.NOT_EXECUTED)


def not_executed(comm: int, file: bytes, number: int, where: int) -> NoReturn:
    """Tell the owner why there is no command, and end.

    Args:
        comm: the fd where that is said.
        file: what was to be executed.
        number: the errno.
        where: one of NOT_EXECUTED, NOT_THERE and NOT_SET.
    """
    error = OSError(number, os.strerror(number))
    here.doing = os.fsdecode(file)
    try:
        words = f"{type(error).__name__}: {error}"
        tell(wire.ERROR, payloads.pack_error(payloads.name_of(error), words, words))
    finally:
        say(stream_on(comm), _SAID[where])
        os._exit(payloads.NOT_EXECUTED)


def _exec(
    paths: list[bytes], argv: list[bytes], env: dict[str, str] | dict[bytes, bytes] | None
) -> OSError:
    """Execute the first of these that there is; why none could be, as `subprocess` tells it."""
    told: OSError | None = None
    last: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            if env is None:
                os.execv(path, argv)
            else:
                os.execve(path, argv, env)
        except OSError as error:
            last = error
            if told is None and error.errno not in (errno.ENOENT, errno.ENOTDIR):
                told = error
    return told or last


def say(comm: _socket.socket, what: bytes, *, strict: bool = False) -> None:
    """Tell the owner, if there is one still.

    Raises:
        OSError: with `strict`, there may be one, which was not told.
    """
    try:
        comm.send(what, NOSIGNAL | DONTWAIT)
    except (BrokenPipeError, ConnectionResetError):
        return
    except OSError:
        if strict:
            raise
