"""A forker's side of its children: sockets, forking ahead, reaping, ending them with their owner.

Part of the child's text: stdlib and _wire only. Runs no user code, and waits by pid only, since
code that was imported into a template may have children of its own.
"""

from __future__ import annotations

import _operator
import _signal
import _socket
import _struct as struct  # `struct` itself is one file more to find
import os
import stat
import time

from earlyfork import _tree
from earlyfork import _wire as wire
from earlyfork._hot import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterable

AF_UNIX = _socket.AF_UNIX
STREAM = _socket.SOCK_STREAM
#: Status never blocks a forker: an owner that does not read is the owner's affair.
NONBLOCK = getattr(_socket, "SOCK_NONBLOCK", 0)
CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
NOSIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)
DONTWAIT = getattr(_socket, "MSG_DONTWAIT", 0)
ANCILLARY = _socket.CMSG_SPACE(wire.MAX_FDS * 4) + _socket.CMSG_SPACE(12)
CREDENTIALS = getattr(_socket, "SCM_CREDENTIALS", None)
UP_HEAD = struct.Struct("!BI")  # op, pid
QUEUED = struct.Struct("!II")  # generation, pid
TWO_FDS = struct.Struct("2i")  # the fds of a queued standby: comm, status
ROOM_FOR_TWO = _socket.CMSG_SPACE(8)
POLLIN, POLLOUT = 1, 4  # everywhere
#: A template refills its standbys this long after a request, in seconds: the forking would
#: otherwise compete with the process that was just asked for.
REFILL_AFTER = 0.001
#: With this many children a forker makes no more itself: what a fork costs grows with the fds that
#: are inherited, and what a wait costs with the children.
CROWD = 128
#: When standbys are refilled that need not be.
NEVER = float("inf")
#: What a linked process gets between SIGTERM and SIGKILL, in seconds.
GRACE = 0.4


def poll(polled: Iterable[tuple[int, int]], patience: int | None) -> list[tuple[int, int]]:
    """Which of these fds have something to say, waiting so many milliseconds for it."""
    import select  # here, since the loop in C does without it

    waiting = select.poll()
    for fd, events in polled:
        waiting.register(fd, events)
    return waiting.poll(patience)


def message_pair() -> tuple[_socket.socket, _socket.socket]:
    """A socketpair that keeps messages whole."""
    try:
        return _socket.socketpair(AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError as error:
        if error.errno not in (_EPROTONOSUPPORT, _EPROTOTYPE):
            raise
        # macOS has no SOCK_SEQPACKET for AF_UNIX; its datagrams are reliable too.
        return _socket.socketpair(AF_UNIX, _socket.SOCK_DGRAM)


_EPROTONOSUPPORT, _EPROTOTYPE = 93 if hasattr(os, "memfd_create") else 43, 41


def status_pair() -> tuple[int, int]:
    """A status socketpair as two fds, neither of which blocks."""
    ours, theirs = _socket.socketpair(AF_UNIX, STREAM | NONBLOCK)
    if not NONBLOCK:  # macOS
        ours.setblocking(False)
        theirs.setblocking(False)
    return ours.detach(), theirs.detach()


def receive(
    sock: _socket.socket, size: int, flags: int = 0
) -> tuple[bytes, list[int], tuple[int, int, int] | None]:
    """One recvmsg: the bytes, the fds (close-on-exec), the sender's (pid, uid, gid) if it came.

    Raises:
        FdsLost: the kernel dropped fds, since this process has too many open files.
    """
    data, ancillary, got, _ = sock.recvmsg(size, ANCILLARY, flags | CLOEXEC)
    fds: list[int] = []
    sender = None
    for level, kind, raw in ancillary:
        if level != _socket.SOL_SOCKET:
            continue
        if kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])
        elif kind == CREDENTIALS:
            sender = struct.unpack("3i", raw)
    if fds and not CLOEXEC:  # macOS
        for fd in fds:
            os.set_inheritable(fd, False)
    if got & _socket.MSG_CTRUNC:
        close_all(fds)
        raise FdsLost("fds were lost on the way: too many open files in this process")
    return data, fds, sender


def rights(fds: list[int]) -> list[tuple[int, int, bytes]]:
    """The ancillary data that carries `fds`."""
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]


def take_queued(queue: _socket.socket) -> tuple[int, int, int, int] | None:
    """A standby from a template's queue as (generation, pid, comm, status); None if there is none.

    Raises:
        FdsLost: this process has too many open files.
        EOFError: nobody will put one in any more.
    """
    while True:
        try:
            message, ancillary, flags, _ = queue.recvmsg(
                QUEUED.size, ROOM_FOR_TWO, DONTWAIT | CLOEXEC
            )
        except BlockingIOError:
            return None
        except ConnectionResetError:  # the template died; what it queued comes after this
            continue
        if not message:
            raise EOFError
        if flags & _socket.MSG_CTRUNC or not ancillary:
            close_received(ancillary)
            raise FdsLost("a standby was lost on the way: too many open files in this process")
        generation, pid = QUEUED.unpack(message)
        comm, status = TWO_FDS.unpack(ancillary[0][2])
        return generation, pid, comm, status


def close_received(ancillary: list[tuple[int, int, bytes]]) -> None:
    """Close the fds of a message of which some were lost."""
    for _, _, raw in ancillary:
        close_all(list(struct.unpack(f"{len(raw) // 4}i", raw[: len(raw) // 4 * 4])))


def close_all(fds: list[int]) -> None:
    """Close every fd and forget the numbers."""
    while fds:
        os.close(fds.pop())


def write_status(fd: int, op: int, payload: bytes) -> None:
    """Tell an owner something.

    One that can't be told all of it (it does not read, or the kernel has no memory) must not wait
    for ever: its socket is ended, and it takes the process for lost.
    """
    frame = wire.frame(op, payload)
    try:
        written = os.write(fd, frame)
    except (BrokenPipeError, ConnectionResetError):
        return
    except OSError:
        written = 0
    if written < len(frame):
        sock = _socket.socket(AF_UNIX, STREAM, 0, fd)
        try:
            sock.shutdown(_socket.SHUT_RDWR)
        except OSError:  # ended already
            return
        finally:
            sock.detach()


def is_status(fd: int) -> bool:
    """Whether what was handed in can serve as a status socket; sees to it that it never blocks."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    os.set_blocking(fd, False)
    return True


#: A handler that costs no frame of Python.
_do_nothing = _operator.is_


class FdsLost(wire.ProtocolError):
    """The kernel dropped fds that were sent here."""


class Children:
    """The processes that this one forked and that it alone can reap."""

    def __init__(self) -> None:
        self.armed = False
        self.status: dict[int, int] = {}  # pid -> the far end of its status socket
        self.watched: dict[int, int] = {}  # fd whose end is the end of an owner -> linked pid
        self.lines: dict[int, list[int]] = {}  # linked pid -> far ends, which end it when closed
        self.doomed: dict[int, float] = {}  # pid -> when SIGKILL follows SIGTERM
        self.trees: dict[int, list[int]] = {}  # doomed pid -> pidfds of its descendants
        self.generation = 0
        self.queue: _socket.socket | None = None
        self.standby = 0  # how many to keep ready
        self.waiting: set[int] = set()  # standbys not known to be taken
        self.refill_at = NEVER
        self.lingering = False
        #: Whether code that was sent has run here: it may have waited for a child in our stead.
        self.careful = False
        #: Whether somebody shut the way up down.
        self.deaf = False

    def arm(self) -> None:
        """Make what a forker needs: the children's way up and a wakeup."""
        self.up_in, self.up_out = message_pair()
        try:
            self.wake_in, self.wake_out = status_pair()
        except OSError:
            self.up_in.close()
            self.up_out.close()
            raise
        self.up_in.setblocking(False)
        if CREDENTIALS is not None:
            self.up_in.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self.up_fd = self.up_in.fileno()
        self.listen()
        self.armed = True

    def listen(self) -> None:
        """Have the death of a child written to `wake_out`; look once for what died before."""
        if quick is not None:
            if _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_DFL:  # code that was sent did that
                _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            quick.listen(self.wake_out)
        else:
            _signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
            # The interpreter has written to that when a handler is called: any will do.
            _signal.signal(_signal.SIGCHLD, _do_nothing)
        if self.status:
            self._look_again()

    def _look_again(self) -> None:
        """Have the next turn look for dead children."""
        try:
            os.write(self.wake_out, b"!")
        except BlockingIOError:  # it will
            return

    def forget(self) -> None:
        """In a new child: let go of all that is its forker's, but for `more_fds`."""
        if quick is not None:
            quick.listen(-1)
        else:
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        close = os.close
        close(self.up_fd)
        close(self.wake_in)
        close(self.wake_out)
        if self.queue is not None:
            close(self.queue.fileno())
        for fd in self.status.values():
            close(fd)

    def more_fds(self) -> list[int]:
        """Fds that are held for linked children, beyond their status sockets."""
        held = [fd for fds in (*self.trees.values(), *self.lines.values()) for fd in fds]
        if self.watched:
            held += set(self.watched).difference(self.status.values())
        return held

    # -- making them --------------------------------------------------------------------------

    def fork(self, comm: int, status: int) -> bool:
        """Fork a process that will serve `comm`; True in the child. Owns both fds from here on.

        A refusal by the kernel is told to the one who waits for that process, and to nobody else.
        """
        try:
            pid = os.fork()
        except OSError as error:
            write_status(status, wire.NO_FORK, b"%d" % (error.errno or 0))
            os.close(comm)
            os.close(status)
            return False
        if not pid:
            # Said here: a forker that is killed right now leaves a process that is known at least.
            write_status(status, wire.PID, b"%d" % os.getpid())
            os.close(status)
            return True
        self.status[pid] = status
        os.close(comm)
        return False

    @property
    def unusual(self) -> bool:
        """Whether this forker is about to end, is ending somebody, or hears nothing any more."""
        return self.lingering or self.deaf or bool(self.doomed)

    def owners(self) -> list[tuple[int, int]]:
        """What is polled beyond the usual, to see owners end: fds and events."""
        polled = {}
        if self.watched:
            own = {*self.status.values()}
            polled = {fd: 0 if fd in own else POLLIN for fd in self.watched}
        if self.lingering:  # POLLHUP comes unasked
            polled |= {fd: 0 for pid, fd in self.status.items() if pid not in self.doomed}
        return [*polled.items()]

    def poll(self, comm: int, patience: int | None) -> list[tuple[int, int]]:
        """Wait for something to happen to a child, to an owner or in `comm`."""
        # In this order: whoever is found dead has been heard before, or is in this round.
        polled = [(self.wake_in, POLLIN)]
        if not self.deaf:
            polled.append((self.up_fd, POLLIN))
        if comm >= 0:
            polled.append((comm, POLLIN))
        return poll(polled + self.owners(), patience)

    @property
    def crowded(self) -> bool:
        """Whether there are as many as one forker should have."""
        return len(self.status) >= CROWD

    def plan_refill(self, pause: float) -> None:
        """Fork standbys when this many seconds have passed, if fewer wait than should."""
        if self.queue is None or len(self.waiting) >= self.standby:
            self.refill_at = NEVER
        elif self.refill_at == NEVER or not pause:
            self.refill_at = time.monotonic() + pause

    def refill_is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self.refill_at

    def refill(self) -> int:
        """Fork one standby and queue it: its comm fd in the child, -1 in the forker."""
        assert self.queue is not None
        ends: list[int] = []
        try:
            ends += (end.detach() for end in _socket.socketpair(AF_UNIX, STREAM))
            ends += status_pair()
            pid = os.fork()
        except OSError:  # whoever asks for a process will be told; nobody asked for this one
            self.refill_at = NEVER
            close_all(ends)
            return -1
        near, far, ours, theirs = ends
        if not pid:
            close_all([near, ours, theirs])
            return far
        os.close(far)
        self.status[pid] = theirs
        self.waiting.add(pid)
        try:
            self.queue.sendmsg(
                [QUEUED.pack(self.generation, pid)],
                rights([near, ours]),
                NOSIGNAL | DONTWAIT,
            )
        except OSError:  # the owner is gone, and the need with it
            self.standby = 0
            self.refill_at = NEVER
        os.close(near)
        os.close(ours)
        self.plan_refill(0)
        return -1

    # -- losing them --------------------------------------------------------------------------

    def reap(self) -> bool:
        """Tell the owners of all children that ended, then let the kernel forget these.

        False: something came up before that, which must be heard first.
        """
        while self.status:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # somebody's code here took them: nobody can know
                for pid in list(self.status):
                    self._drop(pid)
                return True
            if info is None:
                return not self.careful or self._reap_one_by_one()
            if info.si_pid not in self.status:
                return self._reap_one_by_one()  # a child of imported code stands before ours
            if self._is_told():
                return False
            self._reaped(info.si_pid, info)
        return True

    def _is_told(self) -> bool:
        """Whether something waits to be heard: what a dead child said comes before its death."""
        if self.deaf:
            return False
        try:
            return bool(poll([(self.up_fd, POLLIN)], 0))
        except OSError:  # no memory: the death can't wait
            return False

    def _reap_one_by_one(self) -> bool:
        for pid in list(self.status):
            try:
                info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._drop(pid)
                continue
            if info is not None:
                if self._is_told():
                    return False
                self._reaped(pid, info)
        return True

    def _reaped(self, pid: int, info: os.waitid_result) -> None:
        # Told first, reaped second: an owner who sees no exit may trust the pid.
        code = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        write_status(self.status[pid], wire.EXIT, b"%d" % code)
        os.waitpid(pid, 0)
        self._drop(pid)

    def _drop(self, pid: int) -> None:
        self._unwatch(pid)
        status = self.status.pop(pid)
        os.close(status)
        close_all(self.lines.pop(pid, []))
        self.waiting.discard(pid)
        if not self.trees.get(pid):
            self.trees.pop(pid, None)
            self.doomed.pop(pid, None)

    # -- their owners -------------------------------------------------------------------------

    def tell(self, pid: int, op: int, payload: bytes) -> None:
        """Pass on what a child said."""
        write_status(self.status[pid], op, payload)

    def adopt(self, pid: int, status: int) -> None:
        """A child was taken up by another owner, who waits at `status`."""
        os.close(self.status[pid])
        self.status[pid] = status
        write_status(status, wire.PID, b"%d" % pid)

    def owners_left(self) -> bool:
        """Whether somebody still waits for a child; forgets children for whom nobody does."""
        for fd, _ in self.poll(-1, 0):
            if fd in self.watched:
                self.orphaned(fd)
            elif fd not in (self.wake_in, self.up_fd):
                self.abandon(fd)
        return bool(self.status)

    def linger(self) -> None:
        """From now on, forget children whose owners are gone, and make no new ones ahead."""
        self.lingering = True
        self.refill_at = NEVER
        self._look_again()  # what failed may have been about to see to the dead
        if self.queue is not None:
            self.queue.close()
            self.queue = None

    def abandon(self, status: int) -> None:
        """Nobody waits at this status socket any more; those who must end stay until they have."""
        for pid in [pid for pid, fd in self.status.items() if fd == status]:
            if pid not in self.doomed:
                self._drop(pid)

    # -- ending them with their owner ---------------------------------------------------------

    def link(self, pid: int, owner: list[int], lines: list[int]) -> None:
        """End `pid` when its status socket has no owner any more, or one of `owner` ends.

        `lines` are held until it is reaped: while they are, the kernel does not kill it.
        """
        if pid not in self.status:
            close_all(owner)
            close_all(lines)
            return
        if lines:
            self.lines.setdefault(pid, []).extend(lines)
        for fd in owner:
            self.watched[fd] = pid
        self.watched[self.status[pid]] = pid

    def orphaned(self, fd: int) -> None:
        """An owner ended: begin the end of the process that is linked to it."""
        pid = self.watched[fd]
        self._unwatch(pid)
        self.doomed[pid] = time.monotonic() + GRACE
        self.trees[pid] = _tree.grab(pid)
        for number in (_signal.SIGTERM, _signal.SIGCONT):  # who is stopped must go on to see it
            os.kill(pid, number)
            _tree.send(self.trees[pid], number)

    def _unwatch(self, pid: int) -> None:
        status = self.status[pid]
        for fd in [fd for fd, linked in self.watched.items() if linked == pid]:
            del self.watched[fd]
            if fd != status:
                os.close(fd)

    def overdue(self) -> None:
        """SIGKILL those whose grace is over, with all that they have started."""
        now = time.monotonic()
        for pid, when in list(self.doomed.items()):
            if when > now:
                continue
            del self.doomed[pid]
            tree = self.trees.pop(pid, [])
            if pid in self.status:
                tree += _tree.grab(pid)
                os.kill(pid, _signal.SIGKILL)
                self.doomed[pid] = now + 3600  # done with; what is left is to reap it
            _tree.send(tree, _signal.SIGKILL)
            close_all(tree)

    @property
    def needed(self) -> bool:
        """Whether there is something left to do for a forker that lingers."""
        return bool(self.status or self.trees)

    def patience(self) -> int | None:
        """How long to sleep at most, in milliseconds."""
        first = min(self.refill_at, *self.doomed.values(), NEVER)
        return None if first == NEVER else max(0, int((first - time.monotonic()) * 1000 + 0.9))
