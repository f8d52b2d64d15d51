"""A forker's side of its children: forking, forking ahead, reaping.

This file runs no user code, and waits by pid only, since code that was imported into a template may
have children of its own. Each child has a way up of its own, and what it does there is its own
affair: an error about one child ends the relation to that child, and never the forker. What is
heard there is in `hearing`.
"""

from __future__ import annotations

import _operator
import _signal
import _socket
import errno
import os

from earlyfork._child import foreign
from earlyfork._child.linked import Linked, signal_child
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock, close, fork, getpid, waitid, waitpid, write
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    POLLIN,
    SO_LOCK_FILTER,
    Fds,
    comm_pair,
    has_marks,
    poll,
    rights,
    socket_on,
    status_pair,
    up_pair,
    write_status,
)

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from os import waitid_result

#: A template refills its standbys this long after a request, in seconds: the forking would
#: otherwise compete with the process that was just asked for.
REFILL_AFTER = 0.001
#: With this many children a forker makes no more itself: what a fork costs grows with the fds that
#: are inherited, and what a wait costs grows with the children.
CROWD = 128
#: How many fds a forker holds for each child, and how many it keeps for all else.
FDS_PER_CHILD = 3
OTHER_FDS = 40
#: When standbys are refilled, if none is needed.
NEVER = float("inf")
#: A handler that costs no frame of Python.
_do_nothing = _operator.is_


class Children:
    """The processes that this one forked and that it alone can reap."""

    def __init__(self) -> None:
        self.armed = False
        self.status: dict[int, int] = {}  # pid -> the far end of its status socket
        self.ups: dict[int, int] = {}  # pid -> the forker's end of its way up, if it is still heard
        #: pid -> a copy of the child's end of its way up. As long as the copy is held, no end of
        #: file wakes this forker just before the news of the child's death does.
        self.ends: dict[int, int] = {}
        #: pid -> what was heard of the child, or is known of it: that decides what it may say next.
        self.said: dict[int, set[str]] = {}
        self.linked = Linked()
        self.generation = 0
        self.queue: _socket.socket | None = None
        #: How many standbys to keep; below 0: so many, when a process is next asked for.
        self.standby = 0
        self.waiting: set[int] = set()  # standbys that may wait in the queue still
        self.refill_at = NEVER
        self.lingering = False
        #: Whether code that was sent has run here: it may have waited for a child in our stead.
        self.careful = False
        #: The signals that were blocked before this forker began to work; None while it does not.
        self.mask: set[int] | None = None

    def arm(self) -> None:
        """Make what a forker needs: a socket by which the death of a child wakes it.

        Raises:
            OSError: no fd to be had.
        """
        self.wake_in, self.wake_out = status_pair()
        room = (os.sysconf("SC_OPEN_MAX") - OTHER_FDS) // FDS_PER_CHILD
        self.crowd = min(CROWD, max(room, 1))
        self.listen()
        self.armed = True

    def listen(self) -> None:
        """Have the death of a child written to `wake_out`; look once for what died before."""
        if quick is not None and _signal.getsignal(_signal.SIGCHLD) != _signal.SIG_DFL:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)  # code that was sent had set it
        self._put_handler()
        if self.status:
            self._look_again()

    def _put_handler(self) -> None:
        """Put our handler for SIGCHLD in its place.

        Done after each fork again: code that was imported here may have put its own in the place of
        ours, as the functions may that it has registered with `os.register_at_fork`.
        """
        if quick is not None:
            quick.listen(self.wake_out)
            return
        _signal.set_wakeup_fd(self.wake_out, warn_on_full_buffer=False)
        # The interpreter has written to that when a handler is called: any will do. That holds for
        # every signal, so none is lost that comes just before `poll`: `wake_in` is polled, too.
        _signal.signal(_signal.SIGCHLD, _do_nothing)

    def _look_again(self) -> None:
        """Have the next turn look for dead children."""
        try:
            write(self.wake_out, b"!")
        except BlockingIOError:  # it will
            return

    def forget(self) -> None:
        """In a new child: close the fds of its forker."""
        if quick is not None:
            quick.listen(-1)
        else:
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        close(self.wake_in)
        close(self.wake_out)
        if self.queue is not None:
            close(self.queue.fileno())
        held = (self.status.values(), self.ups.values(), self.ends.values(), self.linked.fds())
        for fds in held:
            for fd in fds:
                close(fd)

    # -- making them --------------------------------------------------------------------------

    def fork(self, comm: int, status: int) -> int:
        """Fork a process that will serve `comm`. Owns both fds from here on.

        A refusal by the kernel is told to the one who waits for that process, and to nobody else.

        Returns:
            In the child the fd of its way up; in the forker -1.
        """
        ends = Fds()
        try:
            ends.extend(up_pair())
            pid = fork()
        except Exception as error:  # of the system, or of an audit hook
            ends.close()
            self.refuse(comm, status, error)
            return -1
        hears, speaks = ends
        if not pid:
            close(hears)
            # Said here: a forker that is killed right now leaves a process that is known at least.
            write_status(status, wire.PID, payloads.pack_number(getpid()))
            close(status)
            return speaks
        self._remember(pid, status, hears, speaks)
        foreign.close((comm,))
        return -1

    def refuse(self, comm: int, status: int, error: Exception) -> None:
        """Tell the one who waits for a process why there will be none. Owns both fds.

        What the kernel says is a number. What forbids it in its stead has words of its own.
        """
        number = getattr(error, "errno", None) or errno.EPERM
        if error.args != (number, os.strerror(number)):
            name = payloads.class_of(error)
            words = f"{name}: {error}"[: wire.MAX_TEXT // 4]
            write_status(status, wire.ERROR, payloads.pack_error(name[:500], words, words))
        write_status(status, wire.NO_FORK, payloads.pack_number(number))
        foreign.close((comm, status))

    def _remember(self, pid: int, status: int, hears: int, speaks: int) -> None:
        """Note a child that was forked; without memory for that, end it: nobody would reap it."""
        try:
            self.status[pid] = status
            self.ups[pid] = hears
            self.ends[pid] = speaks
        except MemoryError:
            for table in (self.status, self.ups):
                table.pop(pid, None)
            signal_child(pid, _signal.SIGKILL)
            waitpid(pid, 0)
            write_status(status, wire.NO_FORK, b"%d" % errno.ENOMEM)
            Fds((status, hears, speaks)).close()
        self._put_handler()

    @property
    def unusual(self) -> bool:
        """Whether this forker is about to end, or is ending somebody."""
        return self.lingering or bool(self.linked.doomed)

    def owners(self) -> list[tuple[int, int]]:
        """What is polled beyond the usual to see owners end, as (fd, events)."""
        polled = self.linked.polled(self.status)
        if self.lingering:  # POLLHUP comes unasked
            doomed = self.linked.doomed
            polled |= {fd: 0 for pid, fd in self.status.items() if pid not in doomed}
        return [*polled.items()]

    def poll(self, comm: int, patience: int | None) -> list[tuple[int, int]]:
        """Wait for something to happen to a child, to an owner or in `comm`."""
        # In this order: a child that is found dead in this round is heard in it, too.
        polled = [(self.wake_in, POLLIN), *((fd, POLLIN) for fd in self.ups.values())]
        if comm >= 0:
            polled.append((comm, POLLIN))
        return poll(polled + self.owners(), patience)

    @property
    def crowded(self) -> bool:
        """Whether there are as many children as one forker should have."""
        return len(self.status) >= self.crowd

    def plan_refill(self, pause: float) -> None:
        """Fork standbys when this many seconds have passed, if fewer wait than should."""
        if self.queue is None or len(self.waiting) >= self.standby:
            self.refill_at = NEVER
        elif self.refill_at == NEVER or not pause:
            self.refill_at = Clock.monotonic() + pause

    def refill_is_due(self) -> bool:
        """Whether it is time to fork a standby."""
        return Clock.monotonic() >= self.refill_at

    def refill(self) -> tuple[int, int]:
        """Fork one standby and put it into the queue.

        Returns:
            In the standby its comm and its way up; in the forker -1 and -1.
        """
        assert self.queue is not None
        ends = Fds()
        try:
            ends.extend(comm_pair())
            ends.extend(status_pair())
            ends.extend(up_pair())
            pid = fork()
        except Exception:  # of the system, or of an audit hook; nobody asked, so nobody is told
            self.refill_at = NEVER
            ends.close()
            return -1, -1
        near, far, ours, theirs, hears, speaks = ends
        if not pid:
            Fds((near, ours, theirs, hears)).close()
            return far, speaks
        close(far)
        self._remember(pid, theirs, hears, speaks)
        if pid in self.status:
            self._queue(pid, near, ours)
        Fds((near, ours)).close()
        self.plan_refill(0)
        return -1, -1

    def _queue(self, pid: int, comm: int, status: int) -> None:
        assert self.queue is not None
        self.waiting.add(pid)
        try:
            message = payloads.pack_queued(self.generation, pid)
            self.queue.sendmsg([message], rights((comm, status)), NOSIGNAL | DONTWAIT)
        except (BrokenPipeError, ConnectionResetError):  # the owner is gone, and the need with it
            self.standby = 0
        except OSError:  # no memory, or others of this user have too many files under way
            self.standby = -self.standby

    # -- losing them --------------------------------------------------------------------------

    def reap(self) -> int:
        """Tell the owners of all children that ended, then let the kernel forget these.

        Returns:
            0; or the pid of a dead child that has said something, which must be heard first.
        """
        while self.status:
            try:
                info = waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # code that was sent here took them: nobody can know
                for pid in list(self.status):
                    self._drop(pid)
                return 0
            if info is None:
                return self._reap_one_by_one() if self.careful else 0
            if info.si_pid not in self.status:
                return self._reap_one_by_one()  # the first one is a child of code that was sent
            if self._has_said(info.si_pid):
                return info.si_pid
            self._reaped(info.si_pid, info)
        return 0

    def _has_said(self, pid: int) -> bool:
        """Whether a dead child has said something that was not heard yet. It can say no more."""
        return pid in self.ups and foreign.holds_message(self.ups[pid])

    def _reap_one_by_one(self) -> int:
        for pid in list(self.status):
            try:
                info = waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                self._drop(pid)
                continue
            if info is not None:
                if self._has_said(pid):
                    return pid
                self._reaped(pid, info)
        return 0

    def _reaped(self, pid: int, info: waitid_result) -> None:
        # Told first, reaped second: an owner that sees no exit may trust the pid.
        code = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        write_status(self.status[pid], wire.EXIT, payloads.pack_number(code))
        try:
            waitpid(pid, 0)
        except ChildProcessError:  # code that was sent here has waited for it meanwhile
            self.careful = True
        self._drop(pid)

    def _drop(self, pid: int) -> None:
        self.said.pop(pid, None)
        self.waiting.discard(pid)
        fds = self.linked.forget(pid)
        fds.append(self.status.pop(pid))
        fds += [table.pop(pid) for table in (self.ups, self.ends) if pid in table]
        foreign.close(fds)

    def cut(self, pid: int) -> None:
        """Hear a child no more: it has said what it may not say."""
        if pid in self.ups:
            foreign.close((self.ups.pop(pid), self.ends.pop(pid)))

    def is_marked(self, pid: int) -> bool:
        """Whether a child has marked its way up (`here.take_to_work`): now its function speaks."""
        if not has_marks:
            return False
        end = socket_on(self.ends[pid])
        try:
            return bool(end.getsockopt(_socket.SOL_SOCKET, SO_LOCK_FILTER))
        finally:
            end.detach()

    # -- their owners -------------------------------------------------------------------------

    def tell(self, pid: int, op: int, payload: bytes) -> None:
        """Pass on what a child said; one that said more than its owner reads is heard no more."""
        if not write_status(self.status[pid], op, payload):
            self.cut(pid)

    def adopt(self, pid: int, status: int) -> None:
        """Note that another owner, who waits at `status`, has taken a child up."""
        before, self.status[pid] = self.status[pid], status
        if before in self.linked.watched:
            self.linked.watched[status] = self.linked.watched.pop(before)
        foreign.close((before,))
        write_status(status, wire.PID, payloads.pack_number(pid))

    def owners_left(self) -> bool:
        """Whether somebody still waits for a child; forgets children for whom nobody does."""
        heard = {self.wake_in, *self.ups.values()}
        for fd, _ in self.poll(-1, 0):
            if fd in self.linked.watched:
                self.linked.orphaned(fd)
            elif fd not in heard:
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
        """Forget the child whose status socket nobody holds any more, unless it must be ended."""
        for pid in [pid for pid, fd in self.status.items() if fd == status]:
            if pid not in self.linked.doomed:
                self._drop(pid)

    @property
    def needed(self) -> bool:
        """Whether there is something left to do for a forker that lingers."""
        return bool(self.status or self.linked.trees)

    def patience(self) -> int | None:
        """How long to sleep at most, in milliseconds; None: until something happens."""
        first = min(self.refill_at, *self.linked.doomed.values(), NEVER)
        return None if first == NEVER else max(0, int((first - Clock.monotonic()) * 1000 + 0.9))
