"""How a template is asked for processes: its queue of standbys, requests, whether it still lives.

There is one object for each template that is forked. It is made at the first fork: to make a
process must cost little, and most are never forked. The object holds no reference to the handle on
the template, which must go when its last user drops it. So each method is given the handle.
"""

from __future__ import annotations

import errno
import select
from typing import TYPE_CHECKING

from earlyfork._ground import platform
from earlyfork._ground.errors import TemplateDied
from earlyfork._ground.fds import above_streams, own_fd
from earlyfork._owner.waiting import new_poll
from earlyfork._owner.watch import Watch
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import close
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import (
    CLOEXEC,
    Fds,
    FdsLost,
    comm_pair,
    message_pair,
    socket_on,
    status_pair,
    take_queued,
)

if TYPE_CHECKING:
    import _socket

    from earlyfork._owner.channel import Channel

#: How many standbys a template in steady use keeps; EARLYFORK_STANDBY sets it.
DEFAULT_STANDBY = 2
MOST_STANDBY = 10_000


class Standbys:
    """The queue of one template's standbys, and what sees that template die."""

    def __init__(self, number: int) -> None:
        #: How many standbys the template shall keep; the first request tells it.
        self.number = number
        self._queue: _socket.socket | None = None
        self._poll: select.poll | None = None
        #: Of a template in steady use: its death is seen at once, where its socket may be held open
        #: a moment longer by a child that it was just forking.
        self._pidfd = -1

    def next(self, template: Channel) -> tuple[int, Watch]:
        """A process that is what the template is now: its comm fd, and the watch on it.

        Raises:
            TemplateDied: the template is gone; the text says what is known of its end.
            OSError: no fd to be had here.
        """
        if not template._watch.over:
            if self._queue is not None:
                taken = self._take(template, self._queue)
                if taken is not None:
                    return taken
            if not self.gone(template):
                return self._request(template)
        raise died(template)

    def _take(self, template: Channel, queue: _socket.socket) -> tuple[int, Watch] | None:
        """A standby that waits in the queue and is what the template is now."""
        while True:
            taken = self._next_in_queue(template, queue)
            if taken is None:
                return None
            generation, pid, comm, status = taken
            if generation == template._generation:
                break
            Fds((comm, status)).close()  # the standby sees this and exits
        if comm < 3 or status < 3 or not CLOEXEC:
            comm, status = own_fd(comm), own_fd(status)
        return comm, Watch(status, pid, template._watch)

    def _next_in_queue(
        self, template: Channel, queue: _socket.socket
    ) -> tuple[int, int, int, int] | None:
        """What the next standby is made of; None if there is none, or the template is dead."""
        try:
            if quick is None or template._watch.suspect or self._pidfd < 0:
                return None if self.gone(template) else take_queued(queue)
            found = quick.take(template._comm, self._pidfd, queue.fileno())
            if found == 0:
                raise EOFError
            if found == -1:
                raise FdsLost
            return found if type(found) is tuple else None
        except EOFError:  # the template died, or another process of the host has its queue now
            self.close_queue()
            return None
        except FdsLost as error:
            raise OSError(
                errno.EMFILE, "too many open files in this process to make a process"
            ) from error

    def _request(self, template: Channel) -> tuple[int, Watch]:
        """Ask for a process; the first time also for standbys."""
        with template._flight() as near, template._flight() as far:
            try:
                add_ends(near, far)
                payload = b""
                if self.number and self._queue is None:
                    _add_pair(near, far, tuple(end.detach() for end in message_pair()))
                    payload = payloads.pack_number(self.number)
            except OSError as error:
                raise OSError(error.errno, f"no process can be made: {error.strerror}") from error
            template._send(wire.batch(wire.frame(wire.FORK, payload), len(far)), far)
            if template._broken:
                raise died(template)
            comm, watch = near.take(), Watch(near.take(), None, template._watch)
            if near:
                self._queue = socket_on(near.take())
        return comm, watch

    def gone(self, template: Channel) -> bool:
        """Whether the template is dead. Two threads must not ask at the same time."""
        watch = template._watch
        if self._poll is None:
            self._poll = new_poll()
            self._poll.register(template._comm, 0)
            if self._pidfd >= 0:
                self._poll.register(self._pidfd, select.POLLIN)
        if self._pidfd < 0 and (template._state == wire.ROOT or self._queue is not None):
            watch.refresh()
            pid = watch.known_pid()
            if pid is not None and not watch.over:
                self._pidfd = platform.pidfd(pid)
                if self._pidfd >= 0:
                    self._poll.register(self._pidfd, select.POLLIN)
                watch.refresh()  # not told to have ended: so the pid was still its own
            if watch.over:
                return True
        if watch.suspect:  # it is being killed; maybe not all of its sockets are closed yet
            watch.suspect = False
            return bool(self._poll.poll(1000))
        return bool(self._poll.poll(0))

    def close_queue(self) -> None:
        """Let go of the standbys: those in the queue see their own sockets end."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()

    def close(self) -> None:
        """Let go of everything."""
        self.close_queue()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            close(pidfd)

    def detach(self) -> None:
        """Forget the fds and leave them open: they are somebody else's."""
        if self._queue is not None:
            self._queue.detach()
        self._queue = None
        self._pidfd = -1

    def begin_anew(self) -> None:
        """In the child of a host that forked itself: another thread may have been polling."""
        self._poll = None  # such a poll object would count as in use for ever

    def own_fds(self) -> set[int]:
        """The fds that are held here."""
        return {self._pidfd, -1 if self._queue is None else self._queue.fileno()}


def add_ends(near: Fds, far: Fds) -> None:
    """Make the sockets of one process, comm and status: its owner's ends, and the far ones.

    Raises:
        OSError: no fd to be had here; what was made is in the containers.
    """
    _add_pair(near, far, comm_pair())
    _add_pair(near, far, status_pair())


def _add_pair(near: Fds, far: Fds, ends: tuple[int, ...]) -> None:
    for container, end in zip((near, far), ends, strict=True):
        container.append(above_streams(end))


def died(template: Channel) -> TemplateDied:
    """The error for a template that is gone."""
    error = TemplateDied(f"nothing can be forked: {template._watch.epitaph()}")
    error.__cause__ = template._watch.error
    return error
