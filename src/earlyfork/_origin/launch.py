"""Launch an interpreter, or the frozen app's binary, as a root template.

What is launched needs no earlyfork of its own: the child's text travels over the socket. It forks
itself free of the host at once, so the only direct child is one that ends by itself in a moment.
"""

from __future__ import annotations

import _socket
import os
import sys

from earlyfork import _context
from earlyfork._ground import frozen, marker, stack, starters
from earlyfork._ground.errors import LaunchError
from earlyfork._ground.fds import is_open
from earlyfork._origin import child_text
from earlyfork._owner.own import Own, lent, owned
from earlyfork._owner.watch import Watch

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from earlyfork._origin.interpreter import Choice


class Launched:
    """The launching side's end of a root template, and the process that started it."""

    __slots__ = ("baseline", "comm", "watch")

    def __init__(self) -> None:
        self.baseline = _context.Context()
        self.comm, self.watch = Own(), Watch()


def launch(choice: Choice, env: dict[str, str] | None = None, *, alone: bool = False) -> Launched:
    """Start a root template; does not wait for it.

    Args:
        choice: what to start.
        env: its environment, if not this process's own.
        alone: whether a single process will come from it.

    Raises:
        LaunchError: the program can't be executed; names its path and the system's reason.
        OSError: no fd or no process to be had.
    """
    starters.tidy()
    try:
        return _start(choice, env, alone=alone)
    except OSError as error:
        raise stack.named(error, f"{choice} can't be launched") from error.__cause__


def _start(choice: Choice, env: dict[str, str] | None, *, alone: bool) -> Launched:
    result = Launched()
    far = []
    for near in (result.comm, result.watch):
        ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        near.make(ends[0].detach)
        far.append(owned(ends[1].detach))
    for end in (result.watch, far[1]):
        os.set_blocking(end.fd, False)
    numbers = [end.fd for end in far]
    environment = dict(os.environ) if env is None else dict(env)
    own_directory = choice.frozen and frozen.wants_own_directory(environment)
    boot = b""
    if choice.frozen:
        command = [choice.path]
        environment = frozen.launch_environment(environment)
        environment[marker.MARKER] = marker.make(*numbers, own_directory=own_directory)
    else:
        environment = frozen.plain_environment(environment)
        boot, arguments = child_text.boot(*numbers)
        command = [choice.path, *interpreter_flags(), *arguments]
    pid = _execute(choice, command, environment, numbers)
    if not own_directory:  # else it is its bootloader, which stays as long as the directory
        result.watch.starter = pid
    for end in far:
        end.close()
    if boot:  # to be read when it has started; who reads but the beginning sees its end, and ends
        raw = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
        result.baseline.env = raw
        _send_all(result.comm, b"".join((boot, *child_text.modules(raw, alone=alone))))
    return result


def _execute(choice: Choice, command: list[str], env: dict[str, str], fds: list[int]) -> int:
    """Execute a command that inherits these fds, which is waited for by its pid; return that."""
    import subprocess  # here, since most programs never get here

    try:
        # A stream that is close-on-exec (one that was closed and opened again) is passed on, too.
        streams = {
            name: number
            for number, name in enumerate(("stdin", "stdout", "stderr"))
            if is_open(number) and not os.get_inheritable(number)
        }
        process = subprocess.Popen(command, env=env, pass_fds=fds, **streams)  # type: ignore[call-overload]
        pid: int = process.pid
    except OSError as error:
        stack.pass_on(error)
        if error.filename is None:  # not the file's fault: no process, no memory, no fd
            raise
        raise LaunchError(
            f"{choice} can't be executed: {error.strerror} (errno {error.errno})"
        ) from error
    starters.began(pid)
    process.returncode = 0  # so that nobody but `starters` waits for it
    return pid


def interpreter_flags() -> list[str]:
    """The command line options that make an interpreter like this one."""
    import subprocess

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    for name, value in sys._xoptions.items():  # subprocess knows only some of them
        option = name if value is True else f"{name}={value}"
        if option not in flags:
            flags += ["-X", option]
    return flags


def _send_all(end: Own, data: bytes) -> None:
    """Send the child's text; an interpreter that is gone already is noticed elsewhere."""
    sock = lent(end)
    try:
        # All of it must find room, else this would wait for the interpreter to begin. Linux doubles
        # what is asked for, up to its limit: 426 kB where that was never changed.
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, len(data))
        sock.sendall(data, getattr(_socket, "MSG_NOSIGNAL", 0))
    except (BrokenPipeError, ConnectionResetError) as error:
        stack.pass_on(error)
