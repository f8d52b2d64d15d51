"""Launch an interpreter, or the frozen app's binary, as a root template.

What is launched needs no earlyfork of its own: the child's text travels over the socket. The
launched process forks the template and ends, so the host has a child of its own for a moment only.
"""

from __future__ import annotations

import _signal
import _socket
import contextlib
import errno
import os
import sys

from earlyfork import _context
from earlyfork._ground import frozen, marker, stack, starters
from earlyfork._ground.errors import LaunchError
from earlyfork._ground.fds import is_open, open_fds
from earlyfork._origin import child_text
from earlyfork._owner.own import Own, lent, owned
from earlyfork._owner.watch import Watch
from earlyfork._shared.posix import is_replaced, posix_spawn
from earlyfork._shared.sockets import comm_ends, status_ends

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from earlyfork._origin.interpreter import Choice


#: What `subprocess` does a launch with.
NEEDED = ("close", "read", "waitpid")


class Launched:
    """The launching side's ends of a root template, and the process that was executed for it."""

    __slots__ = ("baseline", "comm", "watch")

    def __init__(self) -> None:
        self.baseline = _context.Context()
        self.comm, self.watch = Own(), Watch()


def launch(choice: Choice, env: dict[str, str] | None = None, *, alone: bool = False) -> Launched:
    """Start a root template; does not wait for it.

    Args:
        choice: what to start.
        env: its environment, if not this process's own.
        alone: whether a single process will be forked from it.

    Raises:
        LaunchError: the program can't be executed; the text has its path and the system's reason.
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
    for near, make in ((result.comm, comm_ends), (result.watch, status_ends)):
        ends = make()
        near.make(ends[0].detach)
        far.append(owned(ends[1].detach))
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
    """Execute a command that inherits these fds; its pid, by which somebody must wait for it."""
    import subprocess  # here, since most programs never get here

    # A stream that is close-on-exec (one that was closed and opened again) is passed on, too.
    fds = [*filter(is_open, range(3)), *fds]
    try:
        # gevent's lets other greenlets run, who may want to launch as well; and its os.close does
        # not close before that, but `subprocess` waits for what it has closed.
        if is_replaced(subprocess, "Popen") or any(is_replaced(os, name) for name in NEEDED):
            pid = _spawn(command, env, fds)
        else:
            with _not_debugged():
                process = subprocess.Popen(command, env=env, pass_fds=fds)
            pid = process.pid
            process.returncode = 0  # so that nobody but `starters` waits for it
    except RuntimeError as error:  # in a subinterpreter that may not
        raise LaunchError(f"{choice} can't be executed: {error}") from error
    except OSError as error:
        stack.pass_on(error)
        if error.filename is None:  # not the file's fault: no process, no memory, no fd
            raise
        raise LaunchError(
            f"{choice} can't be executed: {error.strerror} (errno {error.errno})"
        ) from error
    starters.began(pid)
    return pid


@contextlib.contextmanager
def _not_debugged() -> Iterator[None]:
    """Have a debugger that attaches itself to each Python that is executed leave this one alone.

    pydevd (debugpy, PyCharm) does so by threads of its own. A template with these hangs when it
    forks (seen with debugpy 1.8).
    """
    patcher = sys.modules.get("_pydev_bundle.pydev_monkey")
    skip = getattr(patcher, "skip_subprocess_arg_patch", contextlib.nullcontext)
    with skip():
        yield


def _spawn(command: list[str], env: dict[str, str], fds: list[int]) -> int:
    """The same as `subprocess` does it, by the system alone."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in fds]  # so it is inherited
    actions += [
        (os.POSIX_SPAWN_CLOSE, fd)  # type: ignore[misc]
        for fd in open_fds()
        if fd not in fds and os.get_inheritable(fd)
    ]
    default = {_signal.SIGPIPE, getattr(_signal, "SIGXFSZ", _signal.SIGPIPE)}
    try:
        return posix_spawn(command[0], command, env, file_actions=actions, setsigdef=default)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            error.filename = None  # as `subprocess` has it
        raise


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
        # All of it must fit into the socket, or this would wait until the interpreter reads. Linux
        # doubles what is asked for, up to a limit: 426 kB where that was never changed.
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, len(data))
        sock.sendall(data, getattr(_socket, "MSG_NOSIGNAL", 0))
    except (BrokenPipeError, ConnectionResetError) as error:
        stack.pass_on(error)
