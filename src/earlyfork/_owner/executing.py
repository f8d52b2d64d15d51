"""A prepared process becomes a command: what is asked for, and whether it came to that.

After the frame EXEC the process says on comm that it is about to execute; then comm, which is
close-on-exec there, ends: the command runs. So nobody has to ask, and nothing is polled. Where it
failed, it says so before the end, and the error comes by way of its forker, like every other one.
"""

from __future__ import annotations

import _thread
import os
import sys
import weakref
from typing import TYPE_CHECKING

from earlyfork._ground import platform, stack
from earlyfork._ground.errors import ProcessStateError
from earlyfork._owner import linked as links
from earlyfork._owner.own import Own, Owns, lent, owned, status_pair
from earlyfork._owner.waiting import LONGEST, readable
from earlyfork._owner.watch import Watch
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import DONTWAIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from earlyfork._owner.channel import Channel

    Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: What `subprocess` calls DEVNULL.
DEVNULL = -3
#: As `os.fsencode` has it.
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
#: Of the fds that one batch may carry, those for streams, a link, and what waits to be sent.
_OTHER_FDS = 80


class Execution:
    """What is known of a process on its way to a command."""

    __slots__ = ("cwd", "file", "said")

    def __init__(self, file: Any, cwd: Any = None, *, executed: bool = False) -> None:
        #: What was to be executed, and where, as the caller named it.
        self.file = file
        self.cwd = cwd
        #: What was read from comm; at its end, nothing.
        self.said: list[bytes] = [wire.EXECUTES, b""] if executed else []

    def over(self) -> bool:
        """Whether nothing more will be said."""
        return bool(self.said) and not self.said[-1]

    @property
    def text(self) -> bytes:
        """All that was said."""
        return b"".join(self.said)


# -- what is asked for ----------------------------------------------------------------------------


def command_of(
    argv: Sequence[Text] | Text, executable: Text | None, env: Mapping[Any, Any] | None
) -> tuple[payloads.Command, object]:
    """The command that these mean, without its fds; and its file as the caller named it.

    Raises:
        TypeError, ValueError: they mean none.
    """
    words: list[Any]
    if type(argv) is not list and isinstance(argv, str | bytes | os.PathLike):
        words = [argv]
    else:
        words = list(argv)  # an error in its own words, if it is no iterable
    if not words:
        raise ValueError("a command has one word at least")
    file = words[0] if executable is None else executable
    found = payloads.Command(_text(file), [_text(word) for word in words])
    if env is not None:
        found.env = [_variable(name, value) for name, value in env.items()]
    return found, file


def umask() -> int:
    """This program's own. With threads it is read in C, which keeps the interpreter's lock."""
    found = quick.umask() if quick is not None and _thread._count() else -1
    return platform.umask() if found < 0 else found


def _text(word: Text) -> bytes:
    text = word.encode(_ENCODING, _ERRORS) if type(word) is str else os.fsencode(word)
    if b"\0" in text:
        raise ValueError("embedded null byte")
    return text


def _variable(name: Text, value: Text) -> bytes:
    key = os.fsencode(name)
    if not key or b"=" in key:
        raise ValueError("illegal environment variable name")
    entry = key + b"=" + os.fsencode(value)
    if b"\0" in entry:
        raise ValueError("embedded null byte")
    return entry


def add_fds(
    command: payloads.Command,
    streams: tuple[Any, Any, Any],
    folder: Own | None,
    pass_fds: Sequence[int],
) -> Owns:
    """Note in a command which fds it gets, and make duplicates of them; owns the directory.

    Raises:
        TypeError, ValueError: something is no file, or closed.
        OSError: no fd to be had here.
    """
    fds = Owns()
    if folder is None and not pass_fds and streams == (None, None, None):
        return fds
    letters = bytearray(b"---")
    for number, stream in enumerate(streams):
        if stream is None:
            continue
        fd = _number_of(stream)
        letters[number] = payloads.NULL if fd == DEVNULL else payloads.NEXT_FD
        if fd != DEVNULL:
            fds.append(_duplicate(fd))
    if folder is not None:
        fds.append(folder)
        command.cwd = True
    numbers = sorted({number for number in map(_number_of, pass_fds) if number > 2})
    if len(numbers) > wire.MAX_FDS - _OTHER_FDS:
        raise ValueError(
            f"{len(numbers)} files are too many for one command: {wire.MAX_FDS - _OTHER_FDS} can "
            "be passed on"
        )
    fds += [_duplicate(number) for number in numbers]
    command.streams, command.numbers = bytes(letters), (*numbers,)
    return fds


def _number_of(file: Any) -> int:
    if isinstance(file, bool):
        raise TypeError("a bool is no file; pass the fd as an int")
    fd = file if isinstance(file, int) else file.fileno()
    if not isinstance(fd, int) or (fd < 0 and fd != DEVNULL):
        raise ValueError(
            f"{file!r} is no open file that can be passed on (earlyfork.command makes pipes)"
        )
    return fd


def _duplicate(fd: int) -> Own:
    try:
        return owned(os.dup, fd)
    except OSError as error:
        stack.pass_on(error)
        raise stack.named(error, f"fd {fd} can't be passed on") from error.__cause__


# -- asking for it --------------------------------------------------------------------------------


def send(
    process: Channel, command: payloads.Command, fds: Owns, sent: list[int], *, linked: bool
) -> None:
    """Tell a process to become a command.

    Args:
        process: the process, which may be told so.
        command: what it shall become.
        fds: what goes with it; closed here.
        sent: something is added here as soon as anything was sent.
        linked: whether it ends with this process.
    """
    line = Owns()
    try:
        with process._lock:
            process._in_flight += (weakref.ref(fds), weakref.ref(line))
            if linked:
                command.link = links.link(process._watch, line)
            payload, bulk = wire.split_bulk(payloads.pack_exec(command))
            frame = wire.frame(wire.EXEC, payload)
            process._flush_locked(bulk, ((frame, (*fds, *line)),), None, sent)
    finally:
        process._in_flight = ()
        for end in (*fds, *line):
            end.close()
        if linked and not sent:
            links.unlink(process._watch)
    if linked:
        links.forget_dropped()


def ask(template: Channel, command: payloads.Command, fds: Owns) -> Watch | None:
    """Have a root template execute a command itself; the watch on it.

    None if the template is gone, and nothing was executed.

    Args:
        template: the template.
        command: what it shall execute.
        fds: what goes with that; closed here.

    Raises:
        OSError: no fd to be had here.
    """
    watch, far = Watch(), Own()
    watch._forker = template._watch
    ends = Owns((watch, far, *fds))
    try:
        with template._lock:
            template._in_flight += (weakref.ref(ends),)
            try:
                status_pair(watch, far)
            except OSError as error:
                raise stack.named(error, "no command can be executed") from error.__cause__
            template._flush()
            payload, bulk = wire.split_bulk(payloads.pack_exec(command))
            frame = wire.frame(wire.SPAWN, payload)
            template._send(wire.batch(frame, len(ends) - 1, len(bulk)), ends[1:], bulk)
        return None if template._broken else watch
    finally:
        template._in_flight = ()
        for end in ends[1:]:
            end.close()


def answer(watch: Watch, file: object, cwd: object) -> bool:
    """Wait until a template says that it has executed a command; False if it wants that elsewhere.

    Args:
        watch: the watch on the command.
        file: the file, as the caller named it.
        cwd: the directory, as the caller named it, if it did.

    Raises:
        OSError: the command could not be executed, or there could be no process.
        TemplateDied: the template ended, and nobody knows whether the command was executed.
    """
    while watch._pid is None and not watch.over:  # nobody else knows of it yet
        readable(watch.fd, None)
        watch.look()
    if watch._pid is not None:
        return True
    told, number = watch.unexecuted
    if told == wire.ELSEWHERE:
        return False
    if not told:
        raise watch.failure()
    raise os_error(number, {wire.NOT_EXECUTED: file, wire.NOT_THERE: cwd}.get(told))


# -- whether it came to that ----------------------------------------------------------------------


def wait_for(process: Channel, execution: Execution, deadline: float | None) -> bool:
    """Wait until the process has become the command; False at the deadline.

    Raises:
        OSError: it could not.
        RemoteError: what was sent there before has failed.
        ProcessStateError: it ended before.
        ProcessLost, TemplateDied: nobody can know, or it was never made.
    """
    if not hear(process, execution, deadline):
        return False
    text = execution.text
    if text == wire.EXECUTES:
        return True
    watch = process._watch
    if not watch.until(lambda: watch.error is not None, deadline):
        return False
    error = why_not(process, execution)
    if error is None and watch.returncode is not None:
        error = ProcessStateError(f"{process!r} ended before it could become {execution.file!r}")
    raise error or watch.failure()


def hear(process: Channel, execution: Execution, deadline: float | None) -> bool:
    """Read what the process says on comm, to the end; False at the deadline."""
    while not execution.over():
        left = None if deadline is None else deadline - Clock.monotonic()
        fd = process._comm
        if fd < 0:  # another thread has read the end, or the handle was closed
            with process._lock:
                if execution.over():
                    break
                process._check_end()
        if not readable(fd, left):
            if left is not None and left <= LONGEST:
                return False
            continue
        with process._lock:
            if execution.over():
                break
            process._check_end()
            try:
                # The bytes come into the list in the same step in which they are read.
                execution.said.extend(map(lent(process._end).recv, (64,), (DONTWAIT,)))
            except BlockingIOError:  # another thread was faster
                continue
            except ConnectionResetError:  # it ended without reading what it was sent
                execution.said.append(b"")
    process._end.close()
    return True


def why_not(process: Channel, execution: Execution) -> Exception | None:
    """Why a process did not become a command, as far as that is known."""
    error = process._watch.error
    told = execution.text[-1:]
    names = {wire.EXECUTED_NOT: execution.file, wire.THERE_NOT: execution.cwd, wire.SET_NOT: None}
    if error is None or error.errno is None or told not in names:
        return error
    return os_error(error.errno, names[told])


def os_error(number: int, name: object) -> OSError:
    """The error that the system's functions raise, with or without a name."""
    return OSError(number, os.strerror(number), *(() if name is None else (name,)))
