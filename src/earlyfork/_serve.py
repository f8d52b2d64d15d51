"""The process that serves: obeys frames until it is told to run a function, or to end.

Part of the child's text, which is also sent to launched interpreters: stdlib, _wire, _context and
_children only. A server never runs user work of its own accord, and is gone from the stack when
the user's function runs: `Server.serve` *returns* the function, in whichever process it is by then.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import gc
import os

from earlyfork import _context, _later
from earlyfork import _wire as wire
from earlyfork._children import (
    AF_UNIX,
    DONTWAIT,
    NEVER,
    NOSIGNAL,
    REFILL_AFTER,
    STREAM,
    UP_HEAD,
    Children,
    FdsLost,
    close_all,
    is_status,
    receive,
    rights,
    status_pair,
    write_status,
)
from earlyfork._guard import BLOCKED
from earlyfork._here import here, set_name, tell
from earlyfork._hot import quick
from earlyfork._leave import conclude, flush, forget_exit_functions, reseed
from earlyfork._obey import OBEY

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

#: What a process has of the forkers that it descends from. Their fds are closed; the objects stay,
#: since to finalise them would touch their memory, and each page that is touched after a fork is
#: copied.
_kept: list[object] = []


class Server:
    """One process, from its birth to the moment it runs something or ends."""

    def __init__(self, comm: _socket.socket) -> None:
        self.comm = comm
        self.comm_fd = comm.fileno()
        self.root = True
        self.decoder = wire.Decoder()
        self.todo: list[tuple[int, bytes]] = []  # the frames of a batch, last first
        self.fds: list[int] = []
        self.kids = Children()
        self.parked: list[int] = []
        #: The way to the clone of this process that makes its children while it is crowded.
        self.nursery: _socket.socket | None = None
        self.nursery_pid = 0
        self.is_nursery = False
        #: In a snapshot: the way to the default template that its main program had.
        self.default: _socket.socket | None = None

    def serve(self) -> Callable[[], object] | None:
        """Obey until RUN; return what is to be run, possibly in a descendant of the caller.

        None: what happens next can be left to _quickly.
        """
        while True:
            try:
                if self.todo:
                    op, payload = self.todo.pop()
                    if (wire.OPEN, op) not in wire.NEXT:
                        raise wire.ProtocolError(f"op {op} is none that a process obeys")
                    if op in wire.CHANGES:
                        self.kids.generation += 1
                        self.kids.waiting.clear()
                        self.drop_nursery()
                    job = OBEY[op](self, payload)
                    if job is not None:
                        return job
                elif not self.kids.armed:
                    self.read()
                elif quick is not None and self.decoder.clean and not self.kids.unusual:
                    return None
                elif self.turn():
                    self.read()
            except BaseException as error:  # whatever user code may raise
                self.fail(error)

    def read(self) -> None:
        """Read what the decoder wants."""
        wants = self.decoder.wants
        flags = _socket.MSG_WAITALL if wants > wire.PAD else 0
        try:
            data, fds, _ = receive(self.comm, wants, flags)
        except ConnectionResetError:
            data, fds = b"", []
        except FdsLost:
            self.lose()
            return
        self.take(data, fds)

    def lose(self) -> None:
        """Fds found no place here: one request is lost, and its owner sees that.

        A template lives on. A process that prepares must not go on without what it was sent.
        """
        if not self.root:
            raise FdsLost("fds were lost on the way: too many open files in this process")
        self.decoder = wire.Decoder()

    def take(self, data: bytes, fds: list[int]) -> None:
        """Take in what was read."""
        if not data:
            self.end(0)
        batch = self.decoder.feed(data, fds)
        if batch is not None:
            self.todo, self.fds = batch
            self.todo.reverse()

    def turn(self) -> bool:
        """Wait for something to happen around this forker; True when comm can be read."""
        kids = self.kids
        readable = died = False
        for fd, _ in kids.poll(self.comm_fd, kids.patience()):
            if fd == self.comm_fd:
                readable = True
            elif fd == kids.wake_in:
                try:
                    os.read(fd, 4096)
                except BlockingIOError:  # woken for nothing
                    continue
                died = True
            elif fd == kids.up_fd:
                self.hear()
                if kids is not self.kids:  # a child by now, with nothing to read yet
                    return False
            elif fd in kids.watched:
                kids.orphaned(fd)
            elif kids.lingering:
                kids.abandon(fd)
        if died:
            self.bury()
            # Who was told may have asked for the next one by now, and that goes first.
            return readable and kids is self.kids
        if kids.doomed:
            kids.overdue()
        if not readable and self.decoder.clean and kids.refill_is_due():
            if kids.crowded:
                self.leave_to_nursery()
            else:
                comm = kids.refill()
                if comm >= 0:
                    self.become(comm)
                    self.rehearse()
                    set_name("ef-standby")
        return readable

    def bury(self) -> None:
        """See to the children that died."""
        kids = self.kids
        while not kids.reap():
            self.hear()
            if kids is not self.kids:  # a child by now
                return
        kids.plan_refill(0)
        if self.nursery_pid not in kids.status:
            self.drop_nursery()

    def others(self) -> list[int]:
        """Fds that are no new child's business, beyond those of `kids` and comm."""
        found = [*self.fds, *self.parked, *self.decoder.fds, *self.kids.more_fds()]
        if here.lifeline >= 0:
            found.append(here.lifeline)
        found += [sock.fileno() for sock in (here.up, self.default, self.nursery) if sock]
        return found

    def become(self, comm: int) -> None:
        """In a new child: be the server of `comm`, and nothing of the forker any more."""
        for fd in self.others():
            os.close(fd)
        os.close(self.comm_fd)
        self.kids.forget()
        if self.root or self.is_nursery:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, BLOCKED)
        forget_exit_functions()
        reseed()
        self.begin(comm)

    def begin(self, comm: int) -> None:
        """In a new child that has let go of all fds of its forker: remember nothing of it."""
        _kept.append((here.up, self.comm, self.kids, self.default, self.nursery))
        here.up = self.kids.up_out
        here.lifeline = -1
        here.kind = "prepared"
        self.comm = _socket.socket(AF_UNIX, STREAM, 0, comm)
        self.comm_fd = comm
        self.root = self.is_nursery = False
        self.default = self.nursery = None
        self.todo, self.fds, self.parked = [], [], []
        if not self.decoder.clean:  # half of a large value was read: that is the forker's
            self.decoder = wire.Decoder()
        self.kids = Children()

    def rehearse(self) -> None:
        """In a standby: do all that a run will do, once, so that its memory is this process's own.

        What a process touches for the first time after a fork is copied page by page; here that
        happens before anybody waits for it (15 page faults are left then, instead of 43).
        """
        audience, pending = self.comm, here.pending
        ends: list[_socket.socket] = []
        try:
            ends += _socket.socketpair(AF_UNIX, STREAM)
            self.comm, here.pending = ends[0], []
            ends[1].sendall(wire.batch(wire.frame(wire.RUN, b"-earlyfork._here:rehearsal")))
            while not self.todo:
                self.read()
            op, payload = self.todo.pop()
            job = OBEY[op](self, payload, mask=BLOCKED)
            assert job is not None
            job()
            job.args[0].close()  # type: ignore[attr-defined]
            flush()
        except OSError:  # no memory or no fds: it was for speed only
            self.decoder, self.todo = wire.Decoder(), []
        for end in ends:
            end.close()
        self.comm, here.pending = audience, pending
        here.kind, here.doing = "prepared", ""

    def hear(self) -> None:
        """Read what the children sent up."""
        kids = self.kids
        while kids is self.kids:
            try:
                message, fds, sender = receive(kids.up_in, 1 << 16)
            except BlockingIOError:
                return
            except FdsLost:  # no room for what was asked; who asked sees the end of its socket
                continue
            if not message and sender is None:  # somebody shut it down: nothing more will be heard
                kids.deaf = True
                return
            if len(message) < UP_HEAD.size:
                close_all(fds)
                continue
            op, pid = UP_HEAD.unpack_from(message)
            if sender is not None:
                pid = sender[0]  # the kernel's word counts: nobody speaks for a sibling
            payload = message[UP_HEAD.size :]
            if op in (wire.NEW, wire.SIBLING) and len(fds) == 2 and is_status(fds[1]):
                # A worker that gave up its rights may not have them back by asking for a process.
                refusal = 0
                if sender is not None and sender[1] != os.geteuid():
                    refusal = errno.EPERM
                elif kids.lingering and (op == wire.SIBLING or self.root):
                    refusal = errno.EPIPE  # its owner is gone, and so are its streams
                if refusal:
                    write_status(fds[1], wire.NO_FORK, b"%d" % refusal)
                    close_all(fds)
                elif op == wire.NEW or self.is_nursery:
                    self.new(fds, op)
                else:
                    self.fork(*fds)
                continue
            status = kids.status.get(pid)
            if status is None:
                pass
            elif op in (wire.IS_READY, wire.ERROR):
                kids.tell(pid, op, payload)
            elif op == wire.ADOPT and len(fds) in (1, 2) and is_status(fds[0]):
                kids.adopt(pid, fds.pop(0))
            elif op == wire.LINK:
                lines = 1 if payload == b"S" else 0
                kids.link(pid, fds[lines:], fds[:lines])
                continue
            elif op == wire.FULL and pid == self.nursery_pid:
                self.drop_nursery()
                kids.plan_refill(0)
            close_all(fds)

    def new(self, fds: list[int], op: int = wire.NEW) -> None:
        """A descendant wants a process forked off the clean template: do it, or pass it on."""
        comm, status = fds
        if self.root and here.can_ask and self.default is None:
            self.fork(comm, status)
            return
        try:
            if not self.root:
                tell(op, b"", fds)
            elif self.default is not None:
                self.default.sendmsg(
                    [wire.batch(wire.frame(wire.FORK), 2)], rights(fds), NOSIGNAL | DONTWAIT
                )
        except OSError as error:
            write_status(status, wire.NO_FORK, b"%d" % (error.errno or 0))
        close_all(fds)

    def be_forker(self) -> None:
        """Make what a forker needs, if this is none yet."""
        if not self.kids.armed:
            if self.root and here.baseline is None:
                here.baseline = _context.Context()
            if not self.root:
                _later.ahead()
            self.kids.arm()
            gc.freeze()

    def fork(self, comm: int, status: int) -> None:
        """Fork a process that serves `comm`."""
        try:
            self.be_forker()
        except OSError as error:  # no fds: whoever asked is told, and may ask again
            write_status(status, wire.NO_FORK, b"%d" % (error.errno or 0))
            close_all([comm, status])
            return
        kids = self.kids
        if kids.crowded and self.leave_to_nursery() and self.pass_on(comm, status):
            return
        if kids is not self.kids:  # the nursery itself: it is told like any other template
            close_all([comm, status])
        elif kids.fork(comm, status):
            self.become(comm)
            set_name("ef-prepared")
        else:
            kids.plan_refill(REFILL_AFTER)

    # -- many children ------------------------------------------------------------------------

    def leave_to_nursery(self) -> bool:
        """Have a clone of this process make children from here on; False in that clone.

        It is a process like any other that was forked off this one and is told to fork, and when
        it is crowded itself the next one follows. So no forker has more than CROWD children, and
        the cost of a process does not depend on how many live.
        """
        kids = self.kids
        if self.is_nursery:
            kids.refill_at = NEVER
            if not kids.lingering:
                tell(wire.FULL, b"")  # what arrives before that is heard is made here
            return False
        if self.nursery is not None:
            kids.refill_at = NEVER
            return True
        try:
            near, far = _socket.socketpair(AF_UNIX, STREAM)
            ours, theirs = status_pair()
        except OSError:  # no fds: it goes on in the crowd
            kids.refill_at = NEVER
            return False
        os.close(ours)  # nobody but this process waits for it
        comm, generation = far.detach(), kids.generation
        before = set(kids.status)
        if kids.fork(comm, theirs):
            os.close(near.detach())
            root = self.root
            self.become(comm)
            self.kids.generation = generation
            self.is_nursery = True
            if root:  # it stands in for one, and is as hard to end
                _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTERM})
            set_name("ef-template")
            return False
        made = set(kids.status) - before
        if not made:  # the kernel refuses: whoever asks will be told so by the next attempt
            kids.refill_at = NEVER
            near.close()
            return False
        self.nursery, self.nursery_pid = near, made.pop()
        kids.refill_at = NEVER
        if kids.queue is not None and kids.standby:
            frame = wire.frame(wire.QUEUE, b"%d" % kids.standby)
            self.send_to_nursery(frame, [kids.queue.fileno()])
        return True

    def pass_on(self, comm: int, status: int) -> bool:
        """Have the nursery fork this one; False if it can't be told."""
        if not self.send_to_nursery(wire.frame(wire.FORK), [comm, status]):
            return False
        close_all([comm, status])
        return True

    def send_to_nursery(self, frame: bytes, fds: list[int]) -> bool:
        """One frame; False if the nursery was killed."""
        assert self.nursery is not None
        try:
            self.nursery.sendmsg([wire.batch(frame, len(fds))], rights(fds), NOSIGNAL)
        except OSError:
            self.drop_nursery()
            return False
        return True

    def drop_nursery(self) -> None:
        """Leave the nursery alone with its children: it keeps them and makes no more."""
        if self.nursery is not None:
            self.nursery.close()
            self.nursery = None

    # -- the ends -----------------------------------------------------------------------------

    def end(self, code: int) -> NoReturn:
        """Nobody has commands any more: go, or stay for the children whose owners still care."""
        kids = self.kids
        flush()
        self.drop_nursery()
        if kids.armed:
            kids.linger()
        self.comm.close()
        self.comm_fd = -1
        if kids.status and kids.owners_left():
            # Only who lingers lets go of the streams, so that `app | cat` ends with app although
            # the owner of a worker is another process.
            _context.apply_stdio(b"nnn", [])
        while kids.needed:
            self.turn()
        flush()
        os._exit(code)

    def fail(self, error: BaseException) -> NoReturn:
        """Code that was sent here raised: say so on stderr and to the caller, and end."""
        code = conclude(error)
        drain(self.comm, self.decoder)
        self.end(code)


def drain(comm: _socket.socket, decoder: wire.Decoder) -> None:
    """Read what is left, also by processes that were asked for here and will never be.

    A socket that is closed with unread bytes resets its peer instead of ending it. Files that the
    user sent are closed and not touched: others may share them.
    """
    try:
        comm.shutdown(_socket.SHUT_RD)
        while True:
            data, fds, _ = receive(comm, decoder.wants, DONTWAIT)
            if not data:
                break
            batch = decoder.feed(data, fds)
            if batch is None:
                continue
            frames, fds = batch
            if fds and any(op == wire.FORK for op, _ in frames):  # such a batch holds nothing else
                asked = _socket.socket(AF_UNIX, STREAM, 0, fds.pop(0))
                read_away(asked)
                asked.close()
            close_all(fds)
    except (OSError, wire.ProtocolError):  # nothing more, or nothing that could be obeyed
        read_away(comm)
    close_all(decoder.fds)


def read_away(comm: _socket.socket) -> None:
    """Read and forget; the kernel closes fds that nobody takes."""
    try:
        comm.shutdown(_socket.SHUT_RD)
        while comm.recv(1 << 16, DONTWAIT):
            continue
    except OSError:  # nothing more
        return
