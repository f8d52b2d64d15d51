"""The sockets of both halves: pairs, messages that carry fds, and who owns an fd that came.

This file knows what a socket does. Of what is said over sockets it knows two forms only: a frame on
status, and a queued standby.
"""

from __future__ import annotations

import _socket
import _struct as struct  # `struct` itself is one file more to find
import os

from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close, own
from earlyfork._shared.quick import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AF_UNIX = _socket.AF_UNIX
STREAM = _socket.SOCK_STREAM
#: Status never blocks a forker: an owner that does not read is the owner's affair.
NONBLOCK = getattr(_socket, "SOCK_NONBLOCK", 0)
CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
NOSIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)
DONTWAIT = getattr(_socket, "MSG_DONTWAIT", 0)
PEEK = _socket.MSG_PEEK
CREDENTIALS = getattr(_socket, "SCM_CREDENTIALS", None)
POLLIN, POLLOUT = 1, 4  # everywhere
#: By this option a process that was told to run marks its way up. The option forbids to change the
#: filter of a socket; there is none, so it does nothing else. Nobody can take it back, and setting
#: it wakes nobody.
SO_LOCK_FILTER = 44
has_marks = CREDENTIALS is not None  # Linux
#: What systems without SOCK_SEQPACKET for AF_UNIX say; errno itself is one module more.
_EPROTONOSUPPORT, _EPROTOTYPE = 93 if hasattr(os, "memfd_create") else 43, 41


class FdsLost(wire.ProtocolError):
    """The kernel dropped fds that were sent here."""

    #: How many of the fds did find a place; they were closed again.
    found = 0


class Fds(list[int]):
    """Fds that have one owner: each of them is taken out once, or closed.

    Whoever holds the container owns what is in it. A `with` block closes what was not taken.
    """

    __slots__ = ()

    def take(self) -> int:
        """The first fd, which is the caller's from here on.

        Raises:
            ProtocolError: there is none, where the other side should have sent one.
        """
        if not self:
            raise wire.ProtocolError("a frame came without the fd that belongs to it")
        return self.pop(0)

    def close(self) -> None:
        """Close them all and forget the numbers."""
        while self:
            close(self.pop())

    def __enter__(self) -> Fds:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- sockets, whatever default timeout other code has set ------------------------------------------
#
# With one, Python waits for so long before each call, also before one that shall not wait, and sets
# the fd's own mode.


def socket_on(
    fd: int,
    family: int = -1,
    kind: int = -1,
    protocol: int = -1,
    *,
    kind_of: type[_socket.socket] = _socket.socket,
) -> _socket.socket:
    """A socket object that owns this fd, and leaves the fd's mode as it is."""
    if _socket.getdefaulttimeout() is None:
        return kind_of(family, kind, protocol, fd)
    mode = os.get_blocking(fd)
    sock = kind_of(family, kind, protocol, fd)
    sock.setblocking(True)
    os.set_blocking(fd, mode)
    return sock


def stream_on(fd: int) -> _socket.socket:
    """The same for a stream socket between processes, without asking what it is."""
    return socket_on(fd, AF_UNIX, STREAM, 0)


def pair(kind: int) -> tuple[_socket.socket, _socket.socket]:
    """A socketpair that blocks, unless its kind says otherwise."""
    ends = _socket.socketpair(AF_UNIX, kind)
    for end in ends:
        if end.gettimeout():
            end.setblocking(True)
    return ends


# -- pairs ----------------------------------------------------------------------------------------


def stream_pair() -> tuple[int, int]:
    """The two ends of a stream socketpair."""
    near, far = pair(STREAM)
    return near.detach(), far.detach()


def comm_ends() -> tuple[_socket.socket, _socket.socket]:
    """The two ends of a process's comm: its owner's, and its own, which is told who sends."""
    near, far = pair(STREAM)
    name_senders(far, on=True)
    return near, far


def comm_pair() -> tuple[int, int]:
    """The same as two fds."""
    near, far = comm_ends()
    return near.detach(), far.detach()


def name_senders(sock: _socket.socket, *, on: bool) -> None:
    """Have the kernel say with each message that arrives at this end who sent it, or not."""
    if CREDENTIALS is not None:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, on)


def message_pair() -> tuple[_socket.socket, _socket.socket]:
    """A socketpair that keeps messages whole."""
    try:
        return pair(_socket.SOCK_SEQPACKET)
    except OSError as error:
        if error.errno not in (_EPROTONOSUPPORT, _EPROTOTYPE):
            raise
        # macOS has no SOCK_SEQPACKET for AF_UNIX; its datagrams are reliable too.
        return pair(_socket.SOCK_DGRAM)


def up_pair() -> tuple[int, int]:
    """The two ends of a child's way up: the one where its forker hears it, and the child's own."""
    hears, speaks = message_pair()
    name_senders(hears, on=True)
    return hears.detach(), speaks.detach()


def status_ends() -> tuple[_socket.socket, _socket.socket]:
    """A status socketpair, neither of whose ends blocks."""
    ours, theirs = pair(STREAM | NONBLOCK)
    if not NONBLOCK:  # macOS
        ours.setblocking(False)
        theirs.setblocking(False)
    return ours, theirs


def status_pair() -> tuple[int, int]:
    """The same as two fds."""
    ours, theirs = status_ends()
    return ours.detach(), theirs.detach()


# -- messages with fds ----------------------------------------------------------------------------


def receive(
    sock: _socket.socket, size: int, flags: int = 0, *, most: int = wire.MAX_FDS
) -> tuple[bytes, Fds, tuple[int, int, int] | None]:
    """One recvmsg: the bytes, the fds (close-on-exec), the sender's (pid, uid, gid) if it came.

    Args:
        sock: where to read.
        size: how many bytes at most.
        flags: of recvmsg.
        most: how many fds are wanted; the kernel drops others.

    Raises:
        FdsLost: the kernel dropped fds: this process has too many open files, or more came than
            were wanted.
    """
    room = _socket.CMSG_SPACE(most * 4) + _socket.CMSG_SPACE(12)
    data, ancillary, got, _ = sock.recvmsg(size, room, flags | CLOEXEC)
    fds = Fds()
    sender = None
    for level, kind, raw in ancillary:
        if level != _socket.SOL_SOCKET:
            continue
        if kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        elif kind == CREDENTIALS:
            sender = struct.unpack("iII", raw)
    if not CLOEXEC:  # macOS
        for fd in fds:
            os.set_inheritable(fd, False)
    if got & _socket.MSG_CTRUNC:
        lost = FdsLost("fds were lost on the way: too many open files in this process")
        lost.found = len(fds)
        fds.close()
        raise lost
    return data, fds, sender


def rights(fds: Iterable[int]) -> list[tuple[int, int, bytes]]:
    """The ancillary data that carries `fds`."""
    numbers = (*fds,)
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(numbers)}i", *numbers))]


def credentials(pid: int, uid: int, gid: int) -> list[tuple[int, int, bytes]]:
    """The ancillary data that names another process as the sender; for who may do so."""
    assert CREDENTIALS is not None
    return [(_socket.SOL_SOCKET, CREDENTIALS, struct.pack("iII", pid, uid, gid))]


def take_queued(queue: _socket.socket) -> tuple[int, int, int, int] | None:
    """A standby from a template's queue as (generation, pid, comm, status); None if there is none.

    Raises:
        FdsLost: this process has too many open files, and a standby was lost.
        EOFError: no more standbys will come.
    """
    while True:
        try:
            message, fds, _ = receive(queue, payloads.QUEUED.size, DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # the template died; what it queued comes after this
            continue
        if not message:
            raise EOFError
        if len(fds) != 2:
            fds.close()
            raise FdsLost("a standby was lost on the way: too many open files in this process")
        return (*payloads.unpack_queued(message), *fds)


# -- what a forker tells an owner, and how it waits ------------------------------------------------


def write_status(fd: int, op: int, payload: bytes) -> bool:
    """Tell an owner something, without waiting; False if that has ended the socket.

    An owner that can't be told (it does not read, or the kernel has no memory) must not wait for
    ever. So its socket is ended, and it takes the process for lost.
    """
    frame = wire.frame(op, payload)
    sock = stream_on(fd)
    try:
        # The fd's own mode is not relied on: whoever holds a copy can change it.
        if sock.send(frame, NOSIGNAL | DONTWAIT) == len(frame):
            return True
        _shut(sock)
    except (BrokenPipeError, ConnectionResetError):
        return True  # it was ended before
    except OSError:
        _shut(sock)
    finally:
        sock.detach()
    return False


def _shut(sock: _socket.socket) -> None:
    try:
        sock.shutdown(_socket.SHUT_RDWR)
    except OSError:  # ended already
        return


def _find_poll() -> Callable[[Iterable[tuple[int, int]], int | None], list[tuple[int, int]]]:
    """`poll` in C, or by `select.poll`, whatever other code has put in the place of that."""
    if quick is not None:
        found: Callable[[Iterable[tuple[int, int]], int | None], list[tuple[int, int]]] = quick.poll
        return found
    import select  # here, since in C it is not needed

    new_poll: Callable[[], select.poll] = own(select, "poll")

    def in_python(polled: Iterable[tuple[int, int]], patience: int | None) -> list[tuple[int, int]]:
        waiting = new_poll()
        for fd, events in polled:
            waiting.register(fd, events)
        return waiting.poll(patience)

    return in_python


#: poll(polled, patience): waits until something happens at one of these (fd, events), and returns
#: what did, as (fd, events). Waits `patience` milliseconds at most; None: for ever. A signal may
#: end the wait early.
poll = _find_poll()


def hung_up(fd: int) -> bool:
    """Whether nobody holds the other end."""
    return bool(poll([(fd, 0)], 0))
