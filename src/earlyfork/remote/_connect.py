"""The public functions: `connect`, `connect_fds`, `ship`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork import ProcessStateError, new, new_from_relay
from earlyfork.remote import _words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from earlyfork import Process

#: Adds modules to those that a template over there can import.
_ADD = "import sys; sys.modules['earlyfork.remote._finder'].add(*args)"


def connect(
    command: Sequence[str],
    *,
    python: str | Sequence[str] = "python3",
    shell: bool | None = None,
    timeout: float = 30,
    trusted: bool = False,
    on_stderr: Callable[[bytes], object] | None = None,
) -> Process:
    """A template on another machine, or in another container, user's account, or root directory.

    The command is anything that executes words which are added to it and connects its stdin and
    stdout to them: `["ssh", "host"]`, `["sudo", "-u", "user"]`, `["docker", "exec", "-i", "name"]`.
    earlyfork need not be installed there. Does not wait: what fails is told by `ready()` and by the
    first use.

    Args:
        command: the command's words.
        python: what is executed there: Python 3.10 or later, as a name or path, or several words.
        shell: how many words are added. False: all as they are. True: one, quoted for a shell.
            None: by the command's name; ssh gets one word, and so does what ends with `-c`.
        timeout: seconds until the template must be there. Later, the connection counts as lost
            when nothing was heard for so long.
        trusted: whether what comes from there may be unpickled. Who unpickles what another machine
            sends lets it run any code here. Without it `rpc` takes values of Python's plain types.
        on_stderr: called, in a thread of its own, with the bytes that the command and the processes
            there write to stderr. Without it they go to this program's own.

    Returns:
        The template: `fork`, `require`, `eval`, `call` and all else as with one here. No files can
        be passed to it.

    Raises:
        TypeError, ValueError: this is no command.
        OSError: no fd to be had here.

    From AnyEvent::Fork::Remote.
    """
    words = _words.words_of(command)
    settings: dict[str, Any] = {"command": words, "shell": shell, "name": " ".join(words)}
    return _begin(settings, (), python, timeout, trusted, on_stderr)


def connect_fds(
    reader: Any,
    writer: Any,
    *,
    python: str | Sequence[str] = "python3",
    timeout: float = 30,
    trusted: bool = False,
    on_stderr: Callable[[bytes], object] | None = None,
) -> Process:
    """The same over two files, at whose other end a POSIX shell reads its commands.

    They are duplicated now, and are the connection's from then on.

    Args:
        reader: a file, socket or fd, where the shell's output is read.
        writer: the same for its input. One socket may be both.
        python: as in `connect`, and so is all that follows.
        timeout: as there.
        trusted: as there.
        on_stderr: as there.

    Raises:
        TypeError, ValueError: these are no open files.
        OSError: no fd to be had here.
    """
    fds = tuple(file if isinstance(file, int) else file.fileno() for file in (reader, writer))
    settings: dict[str, Any] = {"command": [], "shell": None, "name": f"fds {fds[0]} and {fds[1]}"}
    return _begin(settings, fds, python, timeout, trusted, on_stderr)


def _begin(
    settings: dict[str, Any],
    fds: tuple[int, ...],
    python: str | Sequence[str],
    timeout: float,
    trusted: bool,  # noqa: FBT001 - inside
    on_stderr: Callable[[bytes], object] | None,
) -> Process:
    if not timeout > 0:
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
    words = [python] if isinstance(python, str) else python
    settings |= {
        "python": _words.words_of(words, "python"),
        "timeout": float(timeout),
        "stderr": on_stderr is not None,
    }
    relay = new()
    near, far = socket.socketpair()
    status, far_status = socket.socketpair()
    errors: tuple[socket.socket, ...] = ()
    try:
        if on_stderr is not None:
            errors = socket.socketpair()
        relay.send_fh(far, far_status, *errors[1:], *fds).send_arg(settings)
        relay.run("earlyfork.remote._serve:serve").close()
        host = new_from_relay(near, status, trusted=trusted)
    except BaseException:
        for sock in (near, status, *errors[:1]):
            sock.close()
        raise
    finally:
        for sock in (far, far_status, *errors[1:]):
            sock.close()
    if on_stderr is not None:
        from earlyfork.remote import _stderr

        _stderr.reader().add(errors[0], on_stderr)
    return host


def ship(host: Process, *names: str) -> Process:
    """Have a template over there import modules of this program's, from sources that are sent now.

    For modules in pure Python, and packages of them with all their modules. They are found before
    those of the same name that are installed there, by all that is forked from the template later.

    Args:
        host: the template, or a process that is prepared.
        *names: the names of modules or packages.

    Returns:
        The same template.

    Raises:
        ModuleNotFoundError: there is no such module here.
        ValueError: a module has no source in Python; nothing was sent.
        ProcessStateError: the process is not on another machine, runs already, or is closed.
    """
    from earlyfork.remote import _sources

    if not host.is_far:
        raise ProcessStateError(
            f"{host!r} is on this machine, where it finds the modules themselves: put them on "
            "sys.path"
        )
    found: dict[str, tuple[bool, str, bytes]] = {}
    for name in names:
        found |= _sources.sources(name)
    return host.eval(_ADD, found)


for _public in (connect, connect_fds, ship):
    _public.__module__ = earlyfork.__name__ + ".remote"  # where users import them from
