"""The watch on a process of another machine, for which a relay speaks (`earlyfork.remote`).

Its pid means nothing here, so nothing is asked of the kernel about it: signals travel on the status
socket, and the relay says what becomes of the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlyfork._ground import stack
from earlyfork._owner.own import lent
from earlyfork._owner.watch import Watch
from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import DONTWAIT, NOSIGNAL

if TYPE_CHECKING:
    import socket

    from earlyfork._owner.own import Own


class FarWatch(Watch):
    """One process of another machine."""

    is_far = True

    def __init__(self, *, trusted: bool) -> None:
        """Watch nothing yet."""
        super().__init__()
        self.is_trusted = trusted

    def of_clone(self) -> Watch:
        """The watch on a process that will be forked from this one."""
        found = FarWatch(trusted=self.is_trusted)
        found._forker = self
        return found

    def signal(self, number: int) -> bool:
        """Have a signal sent; False if the process is known to be gone.

        Raises:
            ProcessLost: nobody speaks for the process any more.
            TemplateDied, OSError: there never was a process.
        """
        self.look()
        if self.lost or self.refused is not None:
            raise self.failure()
        if self._ended:
            return False
        frame = wire.frame(wire.SIGNAL, payloads.pack_number(number))
        try:
            lent(self).send(frame, NOSIGNAL | DONTWAIT)
        except (BrokenPipeError, ConnectionResetError) as error:
            stack.pass_on(error)
            self.look()  # says why
        return True


def owned_ends(comm: socket.socket, status: socket.socket, into: tuple[Own, Own]) -> None:
    """Own the near ends of a relay's two sockets."""
    for sock, end in zip((comm, status), into, strict=True):
        end.make(sock.detach)
