"""How a template is asked for processes: its queue of standbys, requests, whether it still lives.

There is one object for each template that is forked. It is made at the first fork: to make a
process must cost little, and most are never forked. The object holds no reference to the handle on
the template, which must go when its last user drops it. So each method is given the handle.
"""

from __future__ import annotations

import errno
import select
import weakref
from typing import TYPE_CHECKING

from earlyfork._ground import platform, stack
from earlyfork._ground.errors import TemplateDied
from earlyfork._owner.own import Own, Owns, end_of, lent, open_pidfd, pairs
from earlyfork._owner.waiting import new_poll
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import FdsLost, message_pair, take_queued

if TYPE_CHECKING:
    from earlyfork._owner.channel import Channel
    from earlyfork._owner.watch import Watch

#: How many standbys a template in steady use keeps; EARLYFORK_STANDBY sets it.
DEFAULT_STANDBY = 2
MOST_STANDBY = 10_000
#: How many it keeps at most after bursts, unless somebody has set the number. In a burst processes
#: are asked for within so many seconds of each other: who waits for each one to end takes longer.
MOST_FOR_BURSTS = 16
BURST = 0.0003
#: After so many standbys that were taken while none was missing, fewer are kept.
CALM = 256


class Standbys:
    """The queue of one template's standbys, and what sees that template die."""

    def __init__(self, number: int, most: int) -> None:
        #: How many standbys the template shall keep; the first request tells it.
        self.number = number
        #: The numbers between which that follows the rhythm in which processes are asked for.
        self._least, self._most = number, most
        #: How many were asked for in a row while the queue was empty, and when the last one was.
        self._missed, self._missed_at = 0, 0.0
        self._taken = 0
        self._queue: Own | None = None
        self._poll: select.poll | None = None
        #: Of a template in steady use: its death is seen at once, where its socket may be held open
        #: a moment longer by a child that it was just forking.
        self._pidfd = Own()

    def keep(self, number: int) -> None:
        """Have just so many from now on, whatever the rhythm."""
        if number != self.number:
            self.number = number
            self.close_queue()
        self._least, self._most = number, 0

    def next(self, template: Channel) -> tuple[Own, Watch]:
        """A process that is what the template is now: its comm, and the watch on it.

        Raises:
            TemplateDied: the template is gone; the text says what is known of its end.
            ProcessStateError: this program closed the template's socket.
            OSError: no fd to be had here.
        """
        if not template._watch.over:
            comm, watch = Own(), template._watch.of_clone()
            if self._taken >= CALM:
                self._keep_fewer()  # before one is asked for, which makes the next queue
            if self._queue is not None and self._take(template, self._queue, comm, watch):
                self._missed = 0
                self._taken += 1
                return comm, watch
            if not self.gone(template):
                self._request(template, comm, watch)
                return comm, watch
        template._check_end()
        raise died(template)

    def _take(self, template: Channel, queue: Own, comm: Own, watch: Watch) -> bool:
        """Whether a standby waits in the queue and is what the template is now; it is taken."""
        while True:
            taken = self._next_in_queue(template, queue, comm, watch)
            if taken is None:
                return False
            generation, pid = taken
            if generation == template._generation:
                watch._pid, watch._lived_at = pid, watch.born
                return True
            comm.close()  # the standby sees this and exits
            Own.close(watch)

    def _next_in_queue(
        self, template: Channel, queue: Own, comm: Own, watch: Watch
    ) -> tuple[int, int] | None:
        """What the next standby is made of; None if there is none, or the template is dead."""
        try:
            careful = quick is None or template._watch.suspect or self._pidfd.fd < 0
            if careful and self.gone(template):
                return None
            if quick is None:
                return _take_queued(queue, comm, watch)
            found = quick.take(template._comm, self._pidfd, queue, comm, watch)
            if found == 0:
                raise EOFError
            if found == -1:
                raise FdsLost
            if found == -3:
                template._check_end()  # says so, if all were closed
                raise EOFError
            return found if type(found) is tuple else None
        except EOFError:  # the template died, or another process of the host has its queue now
            self.close_queue()
            return None
        except FdsLost as error:
            raise OSError(
                errno.EMFILE, "too many open files in this process to make a process"
            ) from error

    def _request(self, template: Channel, comm: Own, watch: Watch) -> None:
        """Ask for a process; the first time also for standbys."""
        far = [Own(), Own()]
        # Before they are fds of anything: another thread may fork the host.
        made = Owns((comm, watch, *far))
        template._in_flight += (weakref.ref(made),)
        payload, queue = b"", None
        if self._is_burst():
            self.number = min(2 * self.number, self._most)
            payload = payloads.pack_number(self.number)
        try:
            pairs(comm, watch, *far)
            if self.number and self._queue is None:
                queue, end = map(end_of, message_pair())
                made += (queue, end)
                far.append(end)
                payload = payloads.pack_number(self.number)
        except OSError as error:
            raise stack.named(error, "no process can be made") from error.__cause__
        template._send(wire.batch(wire.frame(wire.FORK, payload), len(far)), far)
        if template._broken:
            raise died(template)
        if queue is not None:
            self._queue = queue

    def _is_burst(self) -> bool:
        """Whether so many are asked for in a row that twice the standbys would have been taken."""
        now = Clock.monotonic()
        self._missed = self._missed + 1 if now - self._missed_at < BURST else 1
        self._missed_at, self._taken = now, 0
        if self._missed < self.number or self._queue is None or self.number >= self._most:
            return False
        self._missed = 0
        return True

    def _keep_fewer(self) -> None:
        """Let go of what bursts have called for, if there are none any more."""
        self._taken = 0
        if self.number > self._least:
            self.number = self._least
            self.close_queue()

    def gone(self, template: Channel) -> bool:
        """Whether the template is dead. Two threads must not ask at the same time."""
        watch = template._watch
        if self._poll is None:
            self._poll = new_poll()
            self._poll.register(template._comm, 0)
            if self._pidfd.fd >= 0:
                self._poll.register(self._pidfd.fd, select.POLLIN)
        if watch.is_far:
            watch.refresh()
            return watch.over or bool(self._poll.poll(0))
        if self._pidfd.fd < 0 and (template._state == wire.ROOT or self._queue is not None):
            watch.refresh()
            pid = watch.known_pid()
            if pid is not None and not watch.over:
                open_pidfd(self._pidfd, pid)
                if self._pidfd.fd >= 0:
                    self._poll.register(self._pidfd.fd, select.POLLIN)
                watch.refresh()  # not told to have ended: so the pid was still its own
            if watch.over:
                return True
        if watch.suspect:  # it is being killed; maybe not all of its sockets are closed yet
            watch.suspect = False
            pid = watch.known_pid()
            if pid is not None and platform.is_ending(pid):
                return True
        return bool(self._poll.poll(0))

    def close_queue(self) -> None:
        """Let go of the standbys: those in the queue see their own sockets end."""
        self._queue = None

    def detach(self) -> None:
        """Forget the fds and leave them open: they are somebody else's."""
        for own in (self._queue, self._pidfd):
            if own is not None:
                own.release()
        self._queue = None

    def begin_anew(self) -> None:
        """In the child of a host that forked itself: another thread may have been polling."""
        self._poll = None  # such a poll object would count as in use for ever

    def own_fds(self) -> set[int]:
        """The fds that are held here."""
        return {self._pidfd.fd, -1 if self._queue is None else self._queue.fd}


def _take_queued(queue: Own, comm: Own, watch: Watch) -> tuple[int, int] | None:
    """The same as `quick.take`, without asking whether the template lives."""
    if not queue.is_own():
        raise EOFError
    found = take_queued(lent(queue))
    if found is None:
        return None
    generation, pid, *fds = found
    any(map(type(comm).make, (watch, comm), (int, int), reversed(fds)))
    return generation, pid


def died(template: Channel) -> TemplateDied:
    """The error for a template that is gone."""
    error = TemplateDied(f"nothing can be forked: {template._watch.epitaph()}")
    error.__cause__ = template._watch.error
    return error
