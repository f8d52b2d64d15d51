"""What a server gives to the loop in C (src/quick/forker.c), and does for it.

The loop calls `step`, and not the other way round. So no frame of Python lies between the loop and
what a new process runs: to leave such frames would touch twenty pages.
"""

from __future__ import annotations

import _io
import atexit
import gc
import sys

from earlyfork._child.calm import Calm
from earlyfork._child.children import REFILL_AFTER
from earlyfork._child.commands import SURROUND
from earlyfork._child.ending import forget_exit_functions, refuse_unfinished, reseed
from earlyfork._child.executing import not_executed
from earlyfork._child.files import revive
from earlyfork._child.here import here, resolve
from earlyfork._child.late_socket import socket_class
from earlyfork._shared import wire
from earlyfork._shared.payloads import unpack_value
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import Fds

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import partial
    from typing import Any

    from earlyfork._child.server import Server
else:
    from _functools import partial  # `functools` would load `collections` and more


def _of_a_list(apply: Callable[[bytes, Fds], None]) -> Callable[[bytes, list[int]], None]:
    """A function of SURROUND that takes a list of fds: the part in C knows no Fds."""

    def applied(payload: bytes, fds: list[int]) -> None:
        owned = Fds(fds)
        fds.clear()
        apply(payload, owned)
        fds += owned

    return applied


#: The batch that holds a FORK and nothing else.
PLAIN_FORK = wire.batch(wire.frame(wire.FORK), 2)
#: If one of these modules is loaded, there is something to do in each new process: see `ending`.
LOOKED_AFTER = frozenset(("gevent", "multiprocessing.util", "numpy.random"))


class LoopState:
    """What the loop in C needs, and what it leaves to be done.

    The loop knows each slot by its name. When it leaves something to be done, it writes to
    `refill_at`, `standby` and `what`.
    """

    __slots__ = (
        *("births", "careful", "comm", "crowd", "ends", "executes", "fork_batch", "generation"),
        *("nursery", "spawns", "held", "others", "rights", "said"),
        *("queue", "refill_after", "refill_at", "root", "socket_class", "standby"),
        *("status", "ups", "waiting", "wake_in", "wake_out", "watched", "what"),
    )

    def __init__(self, server: Server, births: tuple[Callable[[], None], ...]) -> None:
        kids = server.kids
        self.comm = server.comm_fd
        self.wake_in = kids.wake_in
        self.wake_out = kids.wake_out
        self.ups = kids.ups
        self.ends = kids.ends
        self.queue = -1 if kids.queue is None else kids.queue.fileno()
        self.status = kids.status
        self.waiting = kids.waiting
        self.others = tuple(server.others())
        self.said = kids.said
        self.held = kids.linked.held
        self.watched = kids.linked.watched
        self.births = births
        self.socket_class = socket_class()
        self.fork_batch = PLAIN_FORK
        self.standby = kids.standby
        self.crowd = kids.crowd
        self.generation = kids.generation
        self.refill_at = kids.refill_at
        self.refill_after = REFILL_AFTER
        self.nursery = server.nursery.pid if server.nursery else 0
        self.root = server.root or server.is_nursery
        self.careful = kids.careful
        self.executes = here.for_commands is None
        self.spawns = self.executes and server.root
        self.rights = here.rights
        #: What happened (one of the events of the part in C), and what belongs to that event.
        self.what: tuple[Any, ...] = ()


if quick is not None:
    surround = {op: _of_a_list(apply) for op, apply in SURROUND.items()}
    quick.know(
        *(here, resolve, atexit._ncallbacks, gc.get_objects, refuse_unfinished),
        *(_io.TextIOWrapper, _io._IOBase, partial, revive, unpack_value, not_executed, surround),
        LoopState,
    )


def step(server: Server, said: Any) -> Any:
    """Do what the loop has left.

    Args:
        server: the server of this process; in a new process that of its forker, which becomes its
            own.
        said: None the first time; an exception that was raised in the loop; or the LoopState, of
            which the loop has set `what`.

    Returns:
        What to run, or the LoopState with which the loop goes on.
    """
    try:
        if isinstance(said, BaseException):
            raise said
        if said is not None:
            see_to(server, said)
    except BaseException as error:
        server.fail(error)
    return server.serve() or usual(server)  # `serve` sees to its own errors


def usual(server: Server) -> LoopState:
    """What the loop needs to go on."""
    births: tuple[Callable[[], None], ...] = (forget_exit_functions, reseed)
    # Asked one by one: an intersection of sets would touch the names of all modules.
    if not (atexit._ncallbacks() or any(name in sys.modules for name in LOOKED_AFTER)):
        births = ()
    return LoopState(server, births)


def see_to(server: Server, left: LoopState) -> None:
    """See to what is unusual: what happened in the loop, or the first batch of a new process."""
    event, *found = left.what
    if event == quick.CHILD:
        comm, data, fds, sender = found
        server.begin(comm)
        if isinstance(data, BaseException):
            raise data
        take(server, data, fds, sender)
        return
    kids = server.kids
    kids.refill_at, kids.standby = left.refill_at, left.standby
    if event == quick.READ:
        _, data, fds, sender = found
        take(server, data, fds, sender)
    elif event == quick.MORE:
        if found[0]:
            with Calm(server.kids):
                server.bury()
        if kids is server.kids and server.turn():
            server.read()
    else:
        with Calm(server.kids):
            _see_to_children(server, event, found)


def _see_to_children(server: Server, event: int, found: list[Any]) -> None:
    if event == quick.ASKED:
        server.fork(Fds(found))
    elif event == quick.REFUSED:
        comm, status, error = found
        server.kids.refuse(comm, status, error)
    elif event == quick.CROWDED:
        server.leave_to_nursery()
    elif event == quick.DIED:
        server.bury()
    elif event == quick.HEAR:
        kids = server.kids
        died, *talkers = found
        for talker in talkers:
            server.hear(server, talker)
            if kids is not server.kids:  # a child by now
                return
        if died:
            server.bury()


def take(
    server: Server, data: bytes | None, fds: list[int], sender: tuple[int, int, int] | None
) -> None:
    """Take in what the part in C has read and not obeyed; None: fds found no place."""
    if data is None:
        server.lose()
        return
    server.take(data[: wire.PAD], Fds(fds), sender)
    if len(data) > wire.PAD:  # the rest of the same batch
        server.take(data[wire.PAD :], Fds(), sender)
