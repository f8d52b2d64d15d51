"""What a standby does once before it waits: all that a run will do.

What a process touches for the first time after a fork is copied page by page. In a standby that
happens before anybody waits for it (docs/performance.md has how many are left then).
"""

from __future__ import annotations

from earlyfork._child.ending import flush
from earlyfork._child.guard import BLOCKED
from earlyfork._child.here import here
from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import POLLIN, STREAM, pair, poll

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket

    from earlyfork._child.server import Server

#: How long a standby must have waited before it does more, in milliseconds: where one is taken as
#: soon as it is there, that would take the time of those that follow.
PAUSE = 3
#: What it runs.
NAME = "earlyfork._child.here:rehearsal"


def rehearse(server: Server) -> None:
    """In a standby: run something, so that the memory that a run needs is this process's own."""
    audience, pending = server.comm, here.pending
    ends: list[_socket.socket] = []
    try:
        ends += pair(STREAM)
        server.comm, here.pending = ends[0], []
        ends[1].sendall(wire.batch(wire.frame(wire.RUN, payloads.pack_run(NAME))))
        while not server.todo:
            server.read()
        op, payload = server.todo.pop()
        job = server.commands[op](server, payload, rehearses=BLOCKED)
        assert job is not None
        job()
        job.args[0].close()  # type: ignore[attr-defined]
        flush()
    except OSError:  # no memory or no fds: it was for speed only
        server.decoder, server.todo = wire.Decoder(), []
    for end in ends:
        end.close()
    server.comm, here.pending = audience, pending
    here.kind, here.doing = "prepared", ""
    if here.also is not None and not poll([(server.comm_fd, POLLIN)], PAUSE):
        here.also()
