"""What each message from a child does to its forker: the table HEARD.

Whoever sends may be any code at all. Each function takes the server, the pid of the sender (as the
kernel says it, where it does), the payload, the fds that came, which the caller closes, and the
sender's user id, where the kernel says it.
"""

from __future__ import annotations

import errno
import os

from earlyfork._child.here import here, tell
from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import DONTWAIT, NOSIGNAL, Fds, is_status, rights, write_status

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

    from earlyfork._child.server import Server


def _new(server: Server, _pid: int, _payload: bytes, fds: Fds, uid: int | None) -> None:
    """A descendant wants a process forked off the clean template: fork it, or pass it on."""
    if _may_ask(fds, uid, gone=server.kids.lingering and server.root):
        _fork_or_pass_on(server, wire.NEW, fds)


def _sibling(server: Server, _pid: int, _payload: bytes, fds: Fds, uid: int | None) -> None:
    """A child wants one more process like itself. A nursery stands in for its template."""
    if not _may_ask(fds, uid, gone=server.kids.lingering):
        return
    if server.is_nursery:
        _fork_or_pass_on(server, wire.SIBLING, fds)
    else:
        server.fork(fds)


def _may_ask(fds: Fds, uid: int | None, *, gone: bool) -> bool:
    """Whether a request is one, and is granted; who is refused is told why."""
    if len(fds) != 2 or not is_status(fds[1]):
        return False
    refusal = 0
    if uid is not None and uid != os.geteuid():
        refusal = errno.EPERM  # who gave up its rights may not have them back by asking
    elif gone:
        refusal = errno.EPIPE  # the owner is gone, and so are its streams
    if refusal:
        write_status(fds[1], wire.NO_FORK, payloads.pack_number(refusal))
    return not refusal


def _fork_or_pass_on(server: Server, op: int, fds: Fds) -> None:
    if server.root and here.can_ask and server.default is None:
        server.fork(fds)
        return
    try:
        if not server.root:
            tell(op, b"", fds)
        elif server.default is not None:
            batch = wire.batch(wire.frame(wire.FORK), 2)
            server.default.sendmsg([batch], rights(fds), NOSIGNAL | DONTWAIT)
    except OSError as error:
        write_status(fds[1], wire.NO_FORK, payloads.pack_number(error.errno or 0))


def _said(op: int) -> Callable[[Server, int, bytes, Fds, int | None], None]:
    def pass_on(server: Server, pid: int, payload: bytes, _fds: Fds, _uid: int | None) -> None:
        if pid in server.kids.status:
            server.kids.tell(pid, op, payload)

    return pass_on


def _adopt(server: Server, pid: int, _payload: bytes, fds: Fds, _uid: int | None) -> None:
    """A child was taken up by another owner, who waits at the first fd."""
    if pid in server.kids.status and len(fds) in (1, 2) and is_status(fds[0]):
        server.kids.adopt(pid, fds.take())


def _link(server: Server, pid: int, payload: bytes, fds: Fds, _uid: int | None) -> None:
    """A child is to end with its owner, whose end the fds show."""
    lines = Fds()
    if payload == payloads.SECOND_LINE and fds:
        lines.append(fds.take())
    server.kids.link(pid, Fds(fds), lines)
    fds.clear()


def _full(server: Server, pid: int, _payload: bytes, _fds: Fds, _uid: int | None) -> None:
    """The nursery is crowded: the next request begins a new one."""
    if server.nursery is not None and pid == server.nursery.pid:
        server.drop_nursery()
        server.kids.plan_refill(0)


HEARD: dict[int, Callable[[Server, int, bytes, Fds, int | None], None]] = {
    wire.NEW: _new,
    wire.SIBLING: _sibling,
    wire.IS_READY: _said(wire.IS_READY),
    wire.ERROR: _said(wire.ERROR),
    wire.ADOPT: _adopt,
    wire.LINK: _link,
    wire.FULL: _full,
}
