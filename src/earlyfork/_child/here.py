"""What a process that earlyfork made knows of itself, and how it talks to its forker.

The one object `here` is inherited by every fork, and put right in the new process.
"""

from __future__ import annotations

import _socket
import os
import sys

from earlyfork._shared import payloads
from earlyfork._shared.posix import close, write
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    POLLOUT,
    SO_LOCK_FILTER,
    credentials,
    has_marks,
    poll,
    rights,
    socket_on,
    write_status,
)
from earlyfork._shared.wire import RUNS, UNREHEARSED

#: Why a process that runs alone gets no other one.
ALONE = "this process was told to run alone (alone=True)"

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
    #: In a frozen app that changed the library path: undoes that, for commands.
    for_commands: Callable[[dict[str, str]], dict[str, str]] | None = None
    # Slots, where the part in C finds them at once.
    __slots__ = (
        *("also", "baseline", "can_ask", "doing", "files", "forker", "job", "kind", "lifeline"),
        *("line", "pending", "rights", "spoke", "up"),
    )

    def __init__(self) -> None:
        self.kind = ""  # "template", "prepared" or "worker"; empty: not made by earlyfork
        #: The way up to the forker; -1 where there is none.
        self.up = -1
        #: The pid of the process that forked this one. The socket at `up` comes from that process,
        #: or its number is another file's by now. -1: this process runs alone.
        self.forker = 0
        #: Whether something was said on `up`.
        self.spoke = False
        #: A root template's end of its status socket: who holds the other end sees the root die.
        self.lifeline = -1
        #: In a linked worker: its end of the line. The kernel kills it when the other end closes.
        self.line = -1
        #: What this process was told to run, for its error messages.
        self.doing = ""
        self.pending: list[object] = []
        #: In a template: what its standbys do when they have waited for a moment (`habits`).
        self.also: Callable[[], None] | None = None
        #: What senders had of whom this process knew that it has no more rights than they.
        self.rights = b""
        self.baseline: _context.Context | None = None
        #: Whether a request for a process finds a clean template when it is sent up.
        self.can_ask = False
        #: Files that were opened in a template. Its workers flush what they write to them.
        self.files: list[Any] = []
        #: What this process runs. It is kept until the end of the process: dropped earlier, its
        #: socket would warn that nobody closed it.
        self.job: Callable[[], object] | None = None

    @property
    def is_alone(self) -> bool:
        """Whether this is a worker without a way up, by its owner's wish."""
        return self.forker < 0 and self.kind == "worker"


here = Here()


def set_name(name: str) -> None:
    """Set what `ps` shows of this process; 15 bytes of the name are shown."""
    if quick is not None:
        quick.set_name(name.encode())
        return
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no /proc: a chroot, or another system
        return
    try:
        write(fd, name.encode()[:15])
    finally:
        close(fd)


def tell(
    op: int,
    payload: bytes,
    fds: list[int] | None = None,
    sender: tuple[int, int, int] | None = None,
) -> None:
    """Send something up to the forker; in the name of another process if `sender` names one.

    A root template has no forker, and tells its owner.

    Raises:
        PermissionError: this process may not speak in the name of another one.
        OSError: the forker is gone; or it does not read for five seconds; or it hears this process
            no more, since this process runs alone or has said what it may not say.
    """
    if here.up < 0 and here.lifeline >= 0 and not fds:  # a root tells its owner itself
        write_status(here.lifeline, op, payload)
        return
    message = [payloads.pack_up(op, os.getpid(), payload)]
    ancillary = rights(fds) if fds else []
    if sender is not None:
        ancillary += credentials(*sender)
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
    """The way up as a socket object, which the caller detaches: it does not own the fd.

    Raises:
        OSError: there is no way up; or its number is another file's, since somebody closed it.
    """
    if here.up < 0:
        raise BrokenPipeError(_why_nobody_can_be_asked())
    sock = socket_on(here.up)
    try:
        credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        is_ours = int.from_bytes(credentials[:4], sys.byteorder) == here.forker
    except (OSError, AttributeError):  # macOS
        is_ours = sock.type != _socket.SOCK_STREAM
    if not is_ours:
        sock.detach()
        raise BrokenPipeError("the way to this process's forker was closed (by a closerange?)")
    return sock


def _why_nobody_can_be_asked() -> str:
    if not here.kind:
        return "this process was not made by earlyfork, so it has no forker to ask"
    return ALONE if here.is_alone else "its forker was gone before it ran"


def close_way_up() -> None:
    """From now on, this process can ask its forker for nothing, and tell it nothing."""
    up, here.up = here.up, -1
    if up >= 0:
        close(up)


def take_to_work() -> None:
    """Tell the forker that from now on, the function that this process runs speaks on the way up.

    A mark on this end of the socket says so. The forker sees the mark at its copy of the end.
    Nobody can take the mark away, and it wakes nobody. But what was said before and is not heard
    yet would count as said after the mark. So a process that has said something sends a message.
    """
    if here.up < 0:
        return
    if here.spoke or not has_marks or not _mark():
        try:
            tell(RUNS, b"")
        except OSError:  # the forker is gone: nobody can be asked for anything any more
            close_way_up()


def _mark() -> bool:
    """Mark the way up; False where the system has no such marks (qemu-user, gVisor)."""
    sock = socket_on(here.up)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    except OSError as error:
        if isinstance(error, TimeoutError):  # out of a signal handler
            raise
        return False
    finally:
        sock.detach()
    return True


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
    """What a standby runs once before it waits; the caller closes the socket.

    `rehearse` puts another function in the place of this one. To ask here whether there is more to
    do would cost each standby six page faults.
    """
    sock.send(b"!")


_plain_rehearsal = rehearsal


def rehearse(function: Callable[[], object] | None) -> None:
    """In a process that is being prepared: what its standbys do once before they wait.

    What a process touches for the first time after a fork is copied, page by page. A standby that
    has done beforehand what its worker will do has made these copies when it is taken.

    Args:
        function: called in each standby without arguments. It must put back all that it changes
            there. If it raises, the error is printed, the template forks no more standbys, and the
            standby itself goes on. None: call nothing any more.

    AnyEvent::Fork has nothing like it.
    """
    global rehearsal

    def more(sock: socket.socket) -> None:
        _plain_rehearsal(sock)
        try:
            function()  # type: ignore[misc]
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            write(2, b"earlyfork: a standby's rehearsal failed; its template forks no more\n")
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
