"""What a process that earlyfork made knows of itself, and how it talks to its forker.

Its one object, `here`, is inherited by every fork and put right there.
"""

from __future__ import annotations

import _socket
import os
import sys

from earlyfork._shared import payloads
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    POLLOUT,
    SO_LOCK_FILTER,
    has_marks,
    poll,
    rights,
    write_status,
)
from earlyfork._shared.wire import RUNS, UNREHEARSED

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from earlyfork import _context


class Here:
    """What code in a process that earlyfork made can ask about that process."""

    #: In a frozen app, what to do about a module that it does not have, with {0} for its name.
    #: On the class, since it stays the same when all else begins anew.
    collect_by = ""
    # Slots, where the part in C finds them at once.
    __slots__ = (
        *("baseline", "can_ask", "doing", "files", "forker", "job", "kind", "lifeline", "line"),
        *("pending", "spoke", "up"),
    )

    def __init__(self) -> None:
        self.kind = ""  # "template", "prepared" or "worker"; empty: not made by earlyfork
        #: The way up to the forker; -1 where there is none.
        self.up = -1
        #: The process that forked this one: what is `up` is its socket, and nobody else's.
        self.forker = 0
        #: Whether something was said on `up`.
        self.spoke = False
        #: A root's own end of its status socket: who holds the other end sees it die.
        self.lifeline = -1
        #: In a linked worker: the socket by whose end the kernel ends it.
        self.line = -1
        #: What this process was told to run, for its error messages.
        self.doing = ""
        self.pending: list[object] = []
        self.baseline: _context.Context | None = None
        #: Whether a request for a new process that is sent up finds a clean template.
        self.can_ask = False
        #: Files that were opened in a template: what its workers write to them is theirs to flush.
        self.files: list[Any] = []
        #: What this process runs. Kept until its end: dropped earlier, its socket would warn that
        #: nobody closed it.
        self.job: Callable[[], object] | None = None


here = Here()


def set_name(name: str) -> None:
    """What `ps` shows of this process (15 bytes of it)."""
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no /proc: a chroot, or another system
        return
    try:
        os.write(fd, name.encode()[:15])
    finally:
        os.close(fd)


def tell(op: int, payload: bytes, fds: list[int] | None = None) -> None:
    """Send something up to the forker.

    Raises:
        OSError: the forker is gone, does not read for five seconds, or was told something that it
            may not be told.
    """
    if here.up < 0 and here.lifeline >= 0 and not fds:  # a root tells its owner itself
        write_status(here.lifeline, op, payload)
        return
    message = [payloads.pack_up(op, os.getpid(), payload)]
    ancillary = rights(fds) if fds else []
    sock = _way_up()
    here.spoke = True
    try:
        try:
            sock.sendmsg(message, ancillary, NOSIGNAL | DONTWAIT)
        except BlockingIOError:
            poll([(here.up, POLLOUT)], 5000)
            sock.sendmsg(message, ancillary, NOSIGNAL | DONTWAIT)
    finally:
        sock.detach()


def _way_up() -> _socket.socket:
    """The way up as a socket, which does not own it.

    Raises:
        OSError: there is none; or its number is another file's, since somebody closed it.
    """
    if here.up < 0:
        raise BrokenPipeError("this process has no forker to ask")
    sock = _socket.socket(fileno=here.up)
    try:
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        is_ours = int.from_bytes(credentials[:4], sys.byteorder) == here.forker
    except (OSError, AttributeError):  # macOS
        is_ours = sock.type != _socket.SOCK_STREAM
    if not is_ours:
        sock.detach()
        raise BrokenPipeError("the way to this process's forker was closed (by a closerange?)")
    return sock


def close_way_up() -> None:
    """From now on, this process asks its forker for nothing, and tells it nothing."""
    up, here.up = here.up, -1
    if up >= 0:
        os.close(up)


def take_to_work() -> None:
    """Tell the forker for good that what this process says is said by what it runs.

    A mark on this end says so, of which the forker holds a copy: nobody can take it away, and it
    wakes nobody. What was said before and is not heard yet would count as said after the mark:
    then a message says it.
    """
    if here.up < 0:
        return
    if here.spoke or not has_marks:
        try:
            tell(RUNS, b"")
        except OSError:  # there is nobody to ask for anything any more
            close_way_up()
        return
    sock = _socket.socket(fileno=here.up)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    finally:
        sock.detach()


def resolve(name: str) -> Any:
    """The object that `pkg.mod.func`, `pkg.mod:obj.attr` or a bare name of `__main__` means."""
    module, colon, path = name.partition(":")
    if not colon:
        module, _, path = name.rpartition(".")
    if module and module not in sys.modules:
        __import__(module)
    found = sys.modules[module or "__main__"]
    for part in path.split("."):
        found = getattr(found, part)
    return found


def rehearsal(sock: socket.socket) -> None:
    """What a standby runs once before it waits; whoever calls it closes the socket.

    `rehearse` puts another function in its place: to ask here whether there is more to do would
    cost each standby six page faults.
    """
    sock.send(b"!")


_plain_rehearsal = rehearsal


def rehearse(function: Callable[[], object] | None) -> None:
    """In a process that is being prepared: what its standbys do once before they wait.

    What a process touches for the first time after a fork is copied, page by page. A standby that
    has done beforehand what its worker will do has that behind it when it is taken.

    Args:
        function: called in each standby without arguments. It puts back all that it changes there.
            What it raises is printed, and the template forks no more standbys; the process that it
            is called in goes on. None: nothing any more.
    """
    global rehearsal

    def more(sock: socket.socket) -> None:
        _plain_rehearsal(sock)
        try:
            function()  # type: ignore[misc]
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            os.write(2, b"earlyfork: a standby's rehearsal failed; its template forks no more\n")
            tell(UNREHEARSED, b"")

    rehearsal = _plain_rehearsal if function is None else more


def run_args() -> tuple[object, ...]:
    """In a process that is being prepared: take out what was sent for the function that will run.

    Returns:
        The handles and values of `send_fh` and `send_arg` so far, in order. They are not passed to
        the function any more. Empty in any other process.

    From AnyEvent::Fork's `run_args`, which documents the taking out and does not do it.
    """
    values = tuple(here.pending)
    here.pending.clear()
    return values
