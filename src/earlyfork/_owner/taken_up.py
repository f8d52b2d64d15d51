"""The watch on a process that another process handed over: what is said of it may be a lie.

Who holds the far end of its status says its pid, and nothing keeps a liar from naming somebody
else's. The kernel says who speaks (SCM_CREDENTIALS), and only a descendant of
that one is signalled.
"""

from __future__ import annotations

from earlyfork._owner.own import Own, lent, owned
from earlyfork._owner.watch import Watch
from earlyfork._shared.sockets import CREDENTIALS, DONTWAIT, name_senders, receive, status_ends
from earlyfork._shared.wire import ProtocolError


class TakenUp(Watch):
    """A process whose forker belongs to somebody else."""

    _teller = 0  # nobody so far

    def begin(self) -> Own:
        """Make the status socket; its far end is the caller's.

        Raises:
            OSError: no fd to be had here.
        """
        near, far = status_ends()
        name_senders(near, on=True)
        self.make(near.detach)
        return owned(far.detach)

    def told_by(self) -> int | None:
        """The process that says what is known of this one; 0: nobody yet; None: can't be told."""
        return None if CREDENTIALS is None else self._teller

    def _receive(self, chunks: list[bytes]) -> bool | None:
        if not self.is_own():
            return self.read(chunks)  # says so
        try:
            data, fds, sender = receive(lent(self), 1 << 16, DONTWAIT, most=0)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return False
        if fds:
            fds.close()
            raise ProtocolError("fds came where none belong")
        if not data:
            return False
        if sender is not None:
            self._teller = sender[0]
        chunks.append(data)
        return True
