"""The nursery of a crowded template: a clone of the template that makes children in its stead.

This file is the template's side, which passes requests on. In the nursery itself they arrive as
frames like those that an owner sends.
"""

from __future__ import annotations

from earlyfork._shared import wire
from earlyfork._shared.sockets import NOSIGNAL, rights

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

#: What a template notes of a child that is its nursery: only such a child may say that it is full.
NURSERY = "nursery"


class Nursery:
    """A nursery as seen from its template: the socket to it, and its pid."""

    def __init__(self, sock: _socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid

    def send(self, frame: bytes, fds: Sequence[int]) -> bool:
        """Send one frame with fds, which stay the caller's; False if the nursery was killed."""
        try:
            self.sock.sendmsg([wire.batch(frame, len(fds))], rights(fds), NOSIGNAL)
        except OSError:
            return False
        return True
