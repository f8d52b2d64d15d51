"""Processes that are linked to this one, so that they end with it (docs/design.md, "Ends").

Their watches are kept here even when their handles are closed or dropped: to close a watch would
end its process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from earlyfork._ground import platform, stack
from earlyfork._owner.own import Own, open_pidfd, stream_ends
from earlyfork._shared import payloads

if TYPE_CHECKING:
    from earlyfork._owner.watch import Watch

#: The watches of all linked processes that may live.
watches: set[Watch] = set()
#: Those of these watches whose handles are gone.
_dropped: set[Watch] = set()


def link(watch: Watch, fds: list[Own]) -> bytes:
    """How a process is to be linked; the fds by which others see our end are added to `fds`.

    Raises:
        OSError: no fd to be had here.
    """
    kind = payloads.LINKED
    try:
        if platform.has_deadly_sockets:
            fds += stream_ends()
            watch.hold_line(fds[1])
            kind = payloads.SECOND_LINE
        watches.add(watch)  # now, since a child of the host must let go of it
        pidfd = Own()
        open_pidfd(pidfd, os.getpid())
    except OSError as error:
        raise stack.named(error, "nothing linked can be run") from error.__cause__
    if pidfd.fd >= 0:
        fds.append(pidfd)
    return kind


def unlink(watch: Watch) -> None:
    """Take that back: the process was not told to run."""
    watches.discard(watch)
    watch.drop_line()


def forget(watch: Watch) -> None:
    """Forget a watch: its process is dead, or was never linked."""
    watches.discard(watch)


def drop(watch: Watch) -> None:
    """Keep a watch whose handle goes, until its process has ended or this one does."""
    if watch.may_live():
        _dropped.add(watch)
    else:
        watches.discard(watch)


def forget_dropped() -> None:
    """Forget the watches without a handle whose processes have ended meanwhile."""
    for watch in tuple(_dropped):  # several threads may be here
        if not watch.foreign:
            watch.look()
        if not watch.may_live():
            _dropped.discard(watch)
            watches.discard(watch)


def forget_all() -> None:
    """In a snapshot: forget all watches; they are the main program's."""
    watches.clear()
    _dropped.clear()


def after_fork_in_child(parent: int) -> None:
    """In the child of a host that forked itself: all linked processes are the parent's."""
    for watch in watches:
        watch.foreign = watch.foreign or parent
        watch.drop_line()  # or the linked processes would live for as long as this child
