"""What a forker hears from its children, and what of it is obeyed.

What speaks may be any code at all: it may send what it likes, as often as it likes, with any fds.
The table HEARD says which messages may come, and when. A child that says anything else is heard no
more. A message is looked at before it is read, so no fd that is not wanted ever gets here.
"""

from __future__ import annotations

import errno

from earlyfork._child import foreign
from earlyfork._child.here import here, tell
from earlyfork._child.nursery import NURSERY
from earlyfork._child.rights import has_our_rights, is_in_our_namespaces
from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import (
    DONTWAIT,
    NOSIGNAL,
    PEEK,
    Fds,
    FdsLost,
    receive,
    rights,
    socket_on,
    write_status,
)

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from earlyfork._child.server import Server

    Sender = tuple[int, int, int] | None

#: So many messages of one child are heard before it is another one's turn.
AT_ONCE = 4
#: The longest message that is obeyed.
LONGEST = payloads.UP_HEAD.size + wire.MAX_TEXT
#: How often a child may say that it has failed: once for its function, once for what that has
#: registered for the end.
MOST_ERRORS = 2
#: How often a child may ask for what it is refused.
MOST_REFUSALS = 8

#: This is noted of a child that has sent RUNS or LINK.
RUNS = "runs"


class Rule:
    """When a message may come, with how many fds, and what is done then."""

    __slots__ = ("before_run", "do", "fds", "once")

    def __init__(
        self,
        do: Callable[[Server, int, bytes, Fds, Sender], None],
        *,
        fds: tuple[int, ...] = (0,),
        before_run: bool = True,
        once: str = "",
    ) -> None:
        self.do = do
        self.fds = fds
        #: Whether the message may come before RUN only: never from the function that is run.
        self.before_run = before_run
        #: If this is set, it is noted of the child, and the message may not come again.
        self.once = once


class Refused(Exception):  # noqa: N818 - the reason to hear a child no more
    """A child said what it may not say."""


def hear(server: Server, pid: int) -> None:
    """Obey what a child has said, up to AT_ONCE messages.

    A message may ask for a process. So this process may be a new child when this returns.
    """
    kids = server.kids
    for _ in range(AT_ONCE):
        up = kids.ups.get(pid)
        if up is None or not _hear_one(server, pid, up) or kids is not server.kids:
            return


def _hear_one(server: Server, pid: int, up: int) -> bool:
    """Obey one message; False if there is none."""
    kids = server.kids
    sock = socket_on(up)
    try:
        message = sock.recv(LONGEST + 1, DONTWAIT | PEEK)
        rule = _allowed(server, pid, message)
        fds, sender = _take(sock, rule)
    except BlockingIOError:
        return False
    except FdsLost as error:
        if error.found >= 2:  # more fds came than any message may have
            kids.cut(pid)
        return True  # else there was no room for the fds here; who sent them sees their end
    except Exception:
        # Refused, or an error about this child: it is heard no more, and nobody else notices.
        kids.cut(pid)
        return False
    finally:
        sock.detach()
    try:
        rule.do(server, pid, message[payloads.UP_HEAD.size :], fds, sender)
    except Exception:
        if kids is not server.kids:  # this is the new child, and the error is its own
            raise
        kids.cut(pid)
    finally:
        if kids is server.kids and fds:
            foreign.close(fds)
    return True


def _allowed(server: Server, pid: int, message: bytes) -> Rule:
    """The rule for a message that may come now.

    Raises:
        Refused: the message may not come now, or ever.
        ProtocolError: it is none of a child's.
    """
    if len(message) > LONGEST:
        raise Refused
    op, _, _ = payloads.unpack_up(message)
    rule = HEARD.get(op)
    said = server.kids.said.setdefault(pid, set())
    if rule is None or (rule.before_run and (RUNS in said or server.kids.is_marked(pid))):
        raise Refused
    if rule.once:
        if rule.once in said:
            raise Refused
        said.add(rule.once)
    return rule


def _take(sock: _socket.socket, rule: Rule) -> tuple[Fds, Sender]:
    """Read the message away, and take the fds that it may have.

    Raises:
        Refused: it has another number of fds.
        FdsLost: the fds found no place here, or were more than it may have.
    """
    if rule.fds == (0,):
        foreign.discard(sock)
        return Fds(), None
    with foreign.Timer():
        _, fds, sender = receive(sock, 1, DONTWAIT, most=max(rule.fds))
    if len(fds) not in rule.fds:
        foreign.close(fds)
        raise Refused
    return fds, sender


def _count(server: Server, pid: int, what: str, most: int) -> None:
    """Note something of a child that may come a few times.

    Raises:
        Refused: it came too often.
    """
    said = server.kids.said[pid]
    left = {f"{what} {number}" for number in range(most)} - said
    if not left:
        raise Refused
    said.add(min(left))


# -- requests for processes -----------------------------------------------------------------------


def _new(server: Server, pid: int, _payload: bytes, fds: Fds, sender: Sender) -> None:
    """A descendant wants a process forked off the clean template: fork it, or pass that on."""
    if _may_ask(server, pid, fds, sender, gone=server.kids.lingering and server.root):
        _fork_or_pass_on(server, wire.NEW, fds, sender)


def _sibling(server: Server, pid: int, _payload: bytes, fds: Fds, sender: Sender) -> None:
    """A child wants one more process like itself. A nursery stands in for its template."""
    if not _may_ask(server, pid, fds, sender, gone=server.kids.lingering):
        return
    if server.is_nursery:
        _fork_or_pass_on(server, wire.SIBLING, fds, sender)
    else:
        server.fork(fds, _asker(sender))


def _may_ask(server: Server, pid: int, fds: Fds, sender: Sender, *, gone: bool) -> bool:
    """Whether a request for a process is granted; who is refused is told why, a few times.

    Raises:
        Refused: this is no such request, since its fds are no streams; or it came too often.
    """
    if not all(map(foreign.is_stream, fds)):
        raise Refused
    refusal = 0
    if sender is not None and not is_in_our_namespaces(sender[0]):
        refusal = errno.EPERM  # what it has there says nothing about what it has here
    elif gone:
        refusal = errno.EPIPE  # the template's owner is gone, and so are its streams
    if refusal:
        _count(server, pid, "refusal", MOST_REFUSALS)
        _refuse(fds, refusal)
    return not refusal


def _refuse(fds: Fds, number: int) -> None:
    write_status(fds[1], wire.NO_FORK, payloads.pack_number(number))


def _asker(sender: Sender) -> Sender:
    """Who asked, if it has other rights than this process; the new one must not have more."""
    return None if sender is None or has_our_rights(sender) else sender


def _fork_or_pass_on(server: Server, op: int, fds: Fds, sender: Sender) -> None:
    asker = _asker(sender)
    if server.root and here.can_ask and server.default is None:
        server.fork(fds, asker)
        return
    try:
        if not server.root:
            tell(op, b"", fds, asker)
        elif asker is not None:  # the default template would take this process for the asker
            _refuse(fds, errno.EPERM)
        elif server.default is not None:
            batch = wire.batch(wire.frame(wire.FORK), 2)
            server.default.sendmsg([batch], rights(fds), NOSIGNAL | DONTWAIT)
    except OSError as error:
        _refuse(fds, error.errno or 0)


# -- what a child says of itself ------------------------------------------------------------------


def _ready(server: Server, pid: int, payload: bytes, _fds: Fds, _sender: Sender) -> None:
    payloads.unpack_number(payload)
    server.kids.tell(pid, wire.IS_READY, payload)


def _error(server: Server, pid: int, payload: bytes, _fds: Fds, _sender: Sender) -> None:
    _count(server, pid, "error", MOST_ERRORS)
    server.kids.tell(pid, wire.ERROR, payload)


def _park(_server: Server, _pid: int, _payload: bytes, _fds: Fds, _sender: Sender) -> None:
    """A child is being handed over: the next thing that is heard of it may be its new owner."""


def _adopt(server: Server, pid: int, _payload: bytes, fds: Fds, _sender: Sender) -> None:
    """A child was taken up by another owner, who waits at the first fd."""
    said = server.kids.said[pid]
    if "parked" not in said or not all(map(foreign.is_stream, fds)):
        raise Refused
    said.discard("parked")
    server.kids.adopt(pid, fds.take())


def _link(server: Server, pid: int, payload: bytes, fds: Fds, _sender: Sender) -> None:
    """A child shall end with its owner, whose end is seen at the fds; and it runs from here on."""
    lines, owner = Fds(), Fds()
    for fd in fds:
        if foreign.is_stream(fd) and payload == payloads.SECOND_LINE and not lines:
            lines.append(fd)
        elif foreign.is_pidfd(fd) and not owner:
            owner.append(fd)
        else:
            raise Refused
    fds.clear()
    server.kids.said[pid].add(RUNS)
    server.kids.linked.link(pid, server.kids.status[pid], owner, lines)


def _full(server: Server, pid: int, _payload: bytes, _fds: Fds, _sender: Sender) -> None:
    """The nursery is crowded: the next request begins a new one. It may have been let go of."""
    if NURSERY not in server.kids.said[pid]:
        raise Refused
    if server.nursery is not None and pid == server.nursery.pid:
        server.drop_nursery()
        server.kids.plan_refill(0)


def _unrehearsed(server: Server, pid: int, _payload: bytes, _fds: Fds, _sender: Sender) -> None:
    """A standby's rehearsal failed, as that of the next one would: no more are forked ahead."""
    if pid not in server.kids.waiting:
        raise Refused
    server.kids.standby = 0


def _runs(_server: Server, _pid: int, _payload: bytes, _fds: Fds, _sender: Sender) -> None:
    """What this child says from here on is said by the function that it runs."""


HEARD = {
    wire.NEW: Rule(_new, fds=(2,), before_run=False),
    wire.SIBLING: Rule(_sibling, fds=(2,), before_run=False),
    wire.ERROR: Rule(_error, before_run=False),
    wire.IS_READY: Rule(_ready),
    wire.PARK: Rule(_park, once="parked"),
    wire.ADOPT: Rule(_adopt, fds=(1, 2)),
    wire.LINK: Rule(_link, fds=(0, 1, 2), once="linked"),
    wire.FULL: Rule(_full, once="full"),
    wire.UNREHEARSED: Rule(_unrehearsed, once="unrehearsed"),
    wire.RUNS: Rule(_runs, once=RUNS),
}
