"""The process that serves: it obeys frames until it is told to run a function, or to end.

A server never runs user work of its own accord. It is gone from the stack when the user's function
runs: `Server.serve` *returns* the function, in whichever process that is by then. What a frame does
is in `commands`, and what a message from a child does is in `hearing`; `root` hands both in.
"""

from __future__ import annotations

import _signal
import _socket
import os

from earlyfork import _context
from earlyfork._child import compact, late_socket, open_files
from earlyfork._child.calm import Calm
from earlyfork._child.children import NEVER, REFILL_AFTER, Children
from earlyfork._child.ending import conclude, drain, flush, forget_exit_functions, reseed
from earlyfork._child.guard import BLOCKED
from earlyfork._child.here import here, set_name, tell
from earlyfork._child.nursery import NURSERY, Nursery
from earlyfork._child.rights import settle
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close, read
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import (
    Fds,
    FdsLost,
    receive,
    socket_on,
    status_pair,
    stream_on,
    stream_pair,
    write_status,
)
from earlyfork._shared.surroundings import apply_stdio

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    #: What each frame does, by its op.
    Commands = Mapping[int, Callable[..., Callable[[], object] | None]]
    #: The pid, real user and group of who sent something.
    Sender = tuple[int, int, int] | None
    #: Obeys what a child has said.
    Hear = Callable[["Server", int], None]
    #: Does once in a standby what all of them will do.
    Rehearse = Callable[["Server"], None]

#: Objects of the forkers that this process descends from. Their fds are closed. The objects stay:
#: to finalise them would touch their memory, and each page that is written to is copied.
kept: list[object] = []


class Server:
    """One process, from its birth to the moment it runs something or ends."""

    def __init__(
        self, comm: _socket.socket, commands: Commands, hear: Hear, rehearse: Rehearse
    ) -> None:
        self.comm = comm
        self.commands = commands
        self.hear = hear
        self.rehearse = rehearse
        self.comm_fd = comm.fileno()
        self.root = True
        self.decoder = wire.Decoder()
        self.todo: list[tuple[int, bytes]] = []  # the frames of a batch, last first
        self.fds = Fds()  # the fds of that batch that no frame has taken yet
        #: Who sent it, until this process has no more rights than they.
        self.senders: set[Sender] = set()
        #: The descendant that asked for this process, if it had other rights than its forker.
        self.askers: set[Sender] = set()
        self.kids = Children()
        #: The owner's end of this process's status socket, while nobody owns it.
        self.parked = Fds()
        #: The clone of this process that makes its children while it is crowded.
        self.nursery: Nursery | None = None
        #: Whether code that was sent has run since this process last looked how large it is.
        self.grown = False
        self.is_nursery = False
        self.is_full = False  # a nursery that has said so
        #: In a snapshot: the way to the default template that its main program had.
        self.default: _socket.socket | None = None

    def serve(self) -> Callable[[], object] | None:
        """Obey until RUN.

        Returns:
            What is to be run, possibly in a descendant of the process that called this. Or None:
            the loop in C can do what comes next (see `quick_loop`).
        """
        while True:
            try:
                if self.todo:
                    op, payload = self.todo.pop()
                    if (wire.OPEN, op) not in wire.NEXT:
                        raise wire.ProtocolError(f"op {op} is none that a process obeys")
                    if self.senders and op in wire.USE_RIGHTS:
                        here.rights = settle(self.senders, self.askers, here.rights)
                        self.senders.clear()
                    if op in wire.CHANGES:
                        self.kids.generation += 1
                        self.kids.waiting.clear()
                        self.drop_nursery()
                    job = self.commands[op](self, payload)
                    if job is not None:
                        return job
                elif not self.kids.armed:
                    if self.grown:
                        self.grown = compact.at_leisure(self.comm_fd)
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
            data, fds, sender = receive(self.comm, wants, flags)
        except ConnectionResetError:
            data, fds, sender = b"", Fds(), None
        except FdsLost:
            self.lose()
            return
        self.take(data, fds, sender)

    def lose(self) -> None:
        """Fds found no place here, so what was sent is lost.

        A root template lives on: one request is lost, and whoever sent it sees that. Any other
        process must not go on without what it was sent: there FdsLost is raised.
        """
        if not self.root:
            raise FdsLost("fds were lost on the way: too many open files in this process")
        Fds(self.decoder.fds).close()
        self.decoder = wire.Decoder()

    def take(self, data: bytes, fds: Fds, sender: Sender) -> None:
        """Take in what was read, and who had sent it."""
        if not data:
            self.end(0)
        if self.decoder.clean:
            self.senders.clear()
        self.senders.add(sender)
        batch = self.decoder.feed(data, fds)
        if batch is not None:
            self.todo, found = batch
            self.fds.close()  # what no frame of the last one took
            self.fds = Fds(found)
            self.todo.reverse()

    def turn(self) -> bool:
        """Wait for something to happen around this forker; True when comm can be read."""
        happened = self.kids.poll(self.comm_fd, self.kids.patience())
        with Calm(self.kids):
            return self.see_to(happened)

    def see_to(self, happened: list[tuple[int, int]]) -> bool:
        """See to what happened at these fds; True when comm can be read."""
        kids = self.kids
        readable = died = False
        watched = kids.linked.watched
        talkers = {fd: pid for pid, fd in kids.ups.items()}
        for fd, _ in happened:
            if fd == self.comm_fd:
                readable = True
            elif fd == kids.wake_in:
                try:
                    read(fd, 4096)
                except BlockingIOError:  # woken for nothing
                    continue
                died = True
            elif fd in talkers:
                self.hear(self, talkers[fd])
                if kids is not self.kids:  # a child by now, with nothing to read yet
                    return False
            elif fd in watched:
                kids.linked.orphaned(fd)
            elif kids.lingering:
                kids.abandon(fd)
        if died:
            waits = kids.refill_is_due()  # since before: else deaths without end would put it off
            self.bury()
            # An owner that was told may have asked for the next process by now: that goes first.
            if kids is not self.kids or not waits:
                return readable and kids is self.kids
        if kids.linked.doomed:
            kids.linked.overdue(kids.status)
        if not readable and self.decoder.clean and kids.refill_is_due():
            if kids.crowded:
                self.leave_to_nursery()
            else:
                comm, up = kids.refill()
                if comm >= 0:
                    self.become(comm, up)
                    self.rehearse(self)
                    set_name("ef-standby")
        return readable

    def bury(self) -> None:
        """See to the children that died."""
        kids = self.kids
        while talker := kids.reap():
            self.hear(self, talker)
            if kids is not self.kids:  # a child by now
                return
        kids.plan_refill(0)
        if self.nursery is not None and self.nursery.pid not in kids.status:
            self.drop_nursery()

    def others(self) -> list[int]:
        """All fds that a new child closes, beyond those of `kids` and comm."""
        nursery = self.nursery and self.nursery.sock
        found = [sock.fileno() for sock in (self.default, nursery) if sock]
        found += [fd for fd in (here.lifeline, here.up) if fd >= 0]
        return [*found, *self.fds, *self.parked, *self.decoder.fds]

    def become(self, comm: int, up: int) -> None:
        """In a new child: close what is the forker's, and serve `comm`; `up` is the way up."""
        for fd in self.others():
            close(fd)
        close(self.comm_fd)
        self.kids.forget()
        mask, self.kids.mask = self.kids.mask, None
        if self.root or self.is_nursery:
            mask = BLOCKED
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask or ())
        forget_exit_functions()
        reseed()
        here.up = up
        here.forker, here.spoke = os.getppid(), False
        self.begin(comm)

    def begin(self, comm: int) -> None:
        """In a new child that has closed all fds of its forker: forget what else was that one's."""
        kept.append((self.comm, self.kids, self.default, self.nursery))
        here.lifeline = -1
        here.kind = "prepared"
        self.comm = stream_on(comm)
        self.comm_fd = comm
        self.root = self.is_nursery = self.is_full = self.grown = False
        self.default = self.nursery = None
        self.todo, self.fds, self.parked = [], Fds(), Fds()
        self.senders, self.askers = set(), set()
        if not self.decoder.clean:  # half of a large value was read: that is the forker's
            self.decoder = wire.Decoder()
        self.kids = Children()

    def be_forker(self) -> None:
        """Make what a forker needs, unless this process is a forker already; OSError: no fds."""
        if not self.kids.armed:
            if self.root and here.baseline is None:
                here.baseline = _context.Context()
            if not self.root:
                late_socket.ahead()
                if not self.is_nursery:
                    here.also = None  # its own clones have habits of their own
            self.kids.arm()
            open_files.settle()

    def fork(self, fds: Fds, asker: Sender = None) -> None:
        """Fork a process that serves the first of two fds, and whose owner waits at the second."""
        with fds, Calm(self.kids):
            self._fork(fds, asker)

    def _fork(self, fds: Fds, asker: Sender) -> None:
        try:
            self.be_forker()
        except OSError as error:  # no fds: the one who asked is told, and may ask again
            write_status(fds[1], wire.NO_FORK, payloads.pack_number(error.errno or 0))
            return
        kids = self.kids
        kids.standby = abs(kids.standby)
        leave = kids.crowded and asker is None and self.leave_to_nursery()
        if leave and self.pass_on(wire.FORK, b"", fds):
            return
        if kids is not self.kids:  # this is the new nursery: it hears of the request as a frame
            return
        comm = fds.take()
        up = kids.fork(comm, fds.take())
        if up >= 0:
            self.become(comm, up)
            self.askers = {asker} - {None}
            set_name("ef-prepared")
        else:
            kids.plan_refill(REFILL_AFTER)

    # -- many children ------------------------------------------------------------------------

    def leave_to_nursery(self) -> bool:
        """Have a clone of this process, the nursery, make children; False in the nursery itself.

        The nursery is forked off this process and told to fork, like any other process. When it is
        crowded itself, the next nursery follows. So no forker has more than a crowd of children,
        and what a process costs does not depend on how many live.
        """
        kids = self.kids
        if self.is_nursery:
            kids.refill_at = NEVER
            if not kids.lingering and not self.is_full:
                self.is_full = True
                tell(wire.FULL, b"")  # requests that arrive before that is heard are done here
            return False
        if self.nursery is not None:
            kids.refill_at = NEVER
            return True
        with Fds() as ends:
            try:
                ends.extend(stream_pair())
                ends.extend(status_pair())
            except OSError:  # no fds: this process goes on in the crowd
                kids.refill_at = NEVER
                return False
            near, comm, _, status = ends  # nobody but this process waits for it
            ends.remove(comm)
            ends.remove(status)
            generation = kids.generation
            before = set(kids.status)
            up = kids.fork(comm, status)
            if up >= 0:
                ends.close()
                self._become_nursery(comm, up, generation)
                return False
            made = set(kids.status) - before
            kids.refill_at = NEVER
            if not made:  # the kernel refused; the next attempt tells that to the one who asks
                return False
            ends.remove(near)
            self.nursery = Nursery(socket_on(near), made.pop())
            kids.said.setdefault(self.nursery.pid, set()).add(NURSERY)
        if kids.queue is not None and kids.standby:
            self.pass_on(wire.QUEUE, payloads.pack_number(abs(kids.standby)), [kids.queue.fileno()])
        return True

    def _become_nursery(self, comm: int, up: int, generation: int) -> None:
        root = self.root
        self.become(comm, up)
        self.kids.generation = generation
        self.is_nursery = True
        if root:  # the nursery of a root template is as hard to end as that is
            _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTERM})
        set_name("ef-template")

    def pass_on(self, op: int, payload: bytes, fds: list[int]) -> bool:
        """Have the nursery obey a frame; False if it was killed."""
        if self.nursery is None:
            return False
        if self.nursery.send(wire.frame(op, payload), fds):
            return True
        self.drop_nursery()
        return False

    def drop_nursery(self) -> None:
        """Let go of the nursery: it keeps its children, and makes no more."""
        if self.nursery is not None:
            self.nursery.sock.close()
            self.nursery = None

    # -- the ends -----------------------------------------------------------------------------

    def end(self, code: int) -> NoReturn:
        """Nobody sends commands any more: end, once nobody waits for a child of this process."""
        kids = self.kids
        flush()
        self.drop_nursery()
        if kids.armed:
            kids.linger()
        self.comm.close()
        self.comm_fd = -1
        for fds in (self.fds, Fds(self.decoder.fds)):  # who waits at their other ends is told
            fds.close()
        if kids.status and kids.owners_left():
            # A process that stays lets go of its streams, so that `app | cat` ends with app even
            # if another process is the owner of a worker.
            apply_stdio(b"nnn", Fds())
        while kids.needed:
            self.turn()
        flush()
        os._exit(code)

    def fail(self, error: BaseException) -> NoReturn:
        """Code that was sent here raised: say so on stderr and to the owner, and end."""
        code = conclude(error)
        drain(self.comm, self.decoder)
        self.end(code)
