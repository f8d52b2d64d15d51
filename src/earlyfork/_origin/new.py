"""The ways to a new process: `new`, `new_exec`, `sibling`, `new_from_fh`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlyfork import _context
from earlyfork._child.here import here
from earlyfork._ground import platform
from earlyfork._ground.errors import LaunchError, TemplateDied
from earlyfork._origin import default, standing
from earlyfork._origin.above import Above
from earlyfork._origin.handover import checked_environment, hand_over
from earlyfork._owner import executing, inside
from earlyfork._owner.own import open_directory
from earlyfork._owner.process import Process
from earlyfork._shared import wire
from earlyfork._shared.quick import quick

if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import Mapping, Sequence
    from typing import Any

    from earlyfork._owner.own import Owns
    from earlyfork._shared import payloads

if quick is not None:
    _context.same_place = quick.same_place


def new(
    *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> Process:
    """A new, clean process, as if it had been started by this one now.

    It comes from the early template if the main program made one (its first line is
    `import earlyfork`), else from a template that is launched on first use and kept. In a process
    that earlyfork made, it comes from the template of the main program, by way of this process's
    forker. Never waits for the new process.

    Args:
        env: its whole environment, instead of this process's current one.
        cwd: its working directory, instead of this process's current one.

    Raises:
        LaunchError: no interpreter can be launched.
        OSError: no fd to be had, or no such `cwd`.
        TypeError, ValueError: `env` is no environment.

    Warns:
        EarlyForkWarning: the template had died and was replaced, or the environment differs from
            the template's in a variable that is read only when a program starts.

    From AnyEvent::Fork's `new`.
    """
    return _new(env, cwd)


def _new(
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    *,
    to_exec: bool = False,
) -> Process:
    """The same; with `to_exec`, no warning of variables that a command will obey."""
    raw = _context.raw_environment() if env is None else checked_environment(env)
    folder = None if cwd is None else open_directory(cwd)
    while True:
        template = default.default_template()
        try:
            process = template.fork()
        except TemplateDied:
            default.lose(template)
            continue
        break
    baseline = template.baseline if isinstance(template, Above) else inside.baseline(template)
    assert baseline is not None
    if folder is not None or not baseline.holds(raw):
        hand_over(process, baseline, raw, folder, warns=not to_exec)
    return process


def new_exec(
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    executable: str | os.PathLike[str] | None = None,
) -> Process:
    """A process in a fresh interpreter; with an early template, one forked off that.

    Args:
        env: its whole environment, instead of this process's current one.
        cwd: its working directory, instead of this process's current one.
        executable: the interpreter for this one process; then it is always launched.

    Raises:
        LaunchError: the interpreter can't be executed; names its path and the errno.
        ValueError, FileNotFoundError: `executable` is no absolute path, or nothing is there.
        OSError: no fd or process to be had, or no such `cwd`.

    In the new interpreter `socket` is loaded when it is first imported, or when the function uses
    its socket for more than to send, receive and close. One that first gives up the stdlib's files
    (chroot, a sandbox) has to import it before.

    From AnyEvent::Fork's `new_exec`. There it makes a direct child; here what is launched forks
    itself free and then forks the process, so that this one is watched like every other.
    """
    if executable is None and default.early_template() is not None:
        return new(env=env, cwd=cwd)
    path = None if executable is None else default.launchable(executable)
    raw = _context.raw_environment() if env is None else checked_environment(env)
    folder = None if cwd is None else open_directory(cwd)
    root = default.launch_root(path, None if env is None else dict(env), alone=True)
    process = _first_of(root)
    hand_over(process, inside.baseline(root), raw, folder, warns=False)
    return process


def new_command(  # noqa: PLR0913 - a command has as many parts
    argv: Sequence[executing.Text] | executing.Text,
    *,
    stdin: object = None,
    stdout: object = None,
    stderr: object = None,
    pass_fds: Sequence[int] = (),
    executable: executing.Text | None = None,
    linked: bool = False,
    env: Mapping[Any, Any] | None = None,
    cwd: executing.Text | None = None,
    umask: int = -1,
    start_new_session: bool = False,
    prepare: object = None,
) -> Process:
    """A command, started as by `subprocess`, whatever the size and threads of this program.

    What a plain command needs is done by the template itself, which no Python has to be copied for.
    With `pass_fds`, `linked` or `prepare`, a new process becomes the command (`Process.exec`).
    Waits until it is known whether the command could be executed.

    Args:
        argv: as for `Process.exec`, as all else here but what follows.
        stdin: as there.
        stdout: as there.
        stderr: as there.
        pass_fds: as there.
        executable: as there.
        linked: as there.
        env: its whole environment, instead of this program's current one.
        cwd: its working directory, instead of this program's current one.
        umask: instead of this program's current one, if it is not below 0.
        start_new_session: as there.
        prepare: as there.

    Raises:
        OSError: the command could not be executed: the error that `subprocess` raises. Or no fd to
            be had, or no such `cwd`.
        RemoteError: what `prepare` names has raised.
        LaunchError: no interpreter can be launched.
        TypeError, ValueError: this is no command, or one of the files none.
        TemplateDied, ProcessLost: the template was killed right then, and nobody knows whether the
            command was executed.
    """
    command, file = executing.command_of(argv, executable, env)
    command.umask = executing.umask() if umask < 0 else umask
    command.session = start_new_session
    template = default.default_template()
    steps = standing.steps(template)
    if steps:
        prepare = [
            *steps,
            *(prepare if isinstance(prepare, list) else [prepare] if prepare else []),
        ]
    if prepare is None and not linked and not pass_fds and platform.can_send_fds:
        process = _executed_by_template(command, file, (stdin, stdout, stderr), cwd)
        if process is not None:
            return process
    return (
        _new(to_exec=True)
        .exec(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            executable=executable,
            linked=linked,
            env=env,
            cwd=cwd,
            umask=command.umask,
            start_new_session=start_new_session,
            prepare=prepare,
        )
        .ready()
    )


def _executed_by_template(
    command: payloads.Command,
    file: object,
    streams: tuple[object, object, object],
    cwd: executing.Text | None,
) -> Process | None:
    """The same by the template itself; None if it can't do that."""
    while True:
        template = default.default_template()
        if not isinstance(template, Process):  # a process that earlyfork made asks its forker
            return None
        fds = _with_surroundings(command, inside.baseline(template), streams, cwd)
        if fds is None:
            return None
        watch = inside.ask_to_execute(template, command, fds)
        if watch is not None:
            return inside.executed_by(template, watch, command, file, cwd)
        default.lose(template)


def _with_surroundings(
    command: payloads.Command,
    baseline: _context.Context,
    streams: tuple[object, object, object],
    cwd: executing.Text | None,
) -> Owns | None:
    """The fds that a command gets beyond what a template has, or another environment.

    None if it can't have the surroundings of this process there.
    """
    raw = _context.raw_environment()
    if command.env is None and raw != baseline.env:
        command.env = [name + b"=" + value for name, value in raw.items()]
    if cwd is None and _context.same_place(baseline.root, baseline.cwd, baseline.stdio):
        return executing.add_fds(command, streams, None, ())
    if _context.directory_identity("/") != baseline.root:
        return None
    folder = None
    if cwd is not None:
        folder = open_directory(cwd)
    elif _context.directory_identity(".") != baseline.cwd:
        folder = open_directory(".")
    found = list(streams)
    for number, (now, then) in enumerate(
        zip(_context.stdio_identity(), baseline.stdio, strict=True)
    ):
        if found[number] is None and now != then:
            found[number] = executing.DEVNULL if now is None else number
    return executing.add_fds(command, (found[0], found[1], found[2]), folder, ())


def _first_of(root: Process) -> Process:
    """The process of a template that was launched for it, if it is what it should be."""
    try:
        return inside.only_one_of(root)
    except TemplateDied as error:
        epitaph = inside.watch_of(root).epitaph()
        raise LaunchError(f"no process could be launched: {epitaph}") from error


def sibling() -> Process:
    """In a process that earlyfork made: one more clone of what this one was cloned from.

    It has what its template was prepared with when the request arrives there, and nothing of this
    process, except that it has no rights (user, groups, root directory, capabilities) that this one
    gave up. Where the template can't see to that, it refuses: then whatever waits for the new
    process raises PermissionError.

    Raises:
        TemplateDied: this process was not made by earlyfork; or it runs alone, or its template is
            gone.
        OSError: no fd to be had here.
    """
    if not here.kind:
        raise TemplateDied(
            "this process was not made by earlyfork, so it has no forker to ask; use new()"
        )
    return Above(None, wire.SIBLING).fork()


def new_from_fh(fh: socket.socket) -> Process:
    """Take up a prepared process whose socket another process got from `to_fh`.

    Owns the socket from here on.

    Raises:
        TypeError: `fh` is no socket.
        ValueError: `fh` is closed, or of another kind than what `to_fh` gives.

    From AnyEvent::Fork's `new_from_fh`.
    """
    import socket

    if not isinstance(fh, socket.socket):
        raise TypeError(f"new_from_fh takes the socket that to_fh() gave, not {type(fh).__name__}")
    if fh.fileno() < 0:
        raise ValueError("new_from_fh was given a closed socket")
    if fh.family != socket.AF_UNIX or fh.type != socket.SOCK_STREAM:
        raise ValueError(f"new_from_fh takes the socket that to_fh() gave, not {fh!r}")
    return inside.adopt(fh.detach)


def new_from_relay(comm: socket.socket, status: socket.socket, *, trusted: bool = False) -> Process:
    """The handle on a template of another machine, for which a process of yours speaks.

    What is at the other ends of these sockets, the relay, speaks the template's part of the
    protocol (docs/remote.md). `earlyfork.remote` has one. Owns both sockets from here on.

    Args:
        comm: takes the frames that are meant for the template.
        status: tells what becomes of it, and takes signals.
        trusted: whether what the processes there send may be unpickled here. Who unpickles what a
            machine sends lets that run any code.

    Raises:
        TypeError, ValueError: these are no open stream sockets between processes.
    """
    import socket

    for sock in (comm, status):
        if not isinstance(sock, socket.socket):
            raise TypeError(f"new_from_relay takes two sockets, not {type(sock).__name__}")
        if sock.fileno() < 0 or sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"new_from_relay takes open stream sockets of AF_UNIX, not {sock!r}")
    status.setblocking(False)
    return inside.far_root(comm, status, trusted=trusted)
