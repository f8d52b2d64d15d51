"""What the rest of earlyfork needs of a `Process` and its users do not.

These are functions and no methods, so that the class has nothing but what users need. Only this
folder knows a handle's underscored attributes.
"""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

from earlyfork._ground.fds import above_streams
from earlyfork._owner.process import Process, handles
from earlyfork._owner.watch import Watch
from earlyfork._shared import wire
from earlyfork._shared.sockets import Fds, status_pair

if TYPE_CHECKING:
    from earlyfork._context import Context


# -- making one -----------------------------------------------------------------------------------


def root(
    comm: int,
    watch: Watch,
    origin: str,
    baseline: Context,
    main: dict[str, object] | None = None,
) -> Process:
    """The handle on a root template.

    Args:
        comm: the near end of its socket, which the handle owns from here on.
        watch: what sees it end.
        origin: "early", "exec" or "snapshot".
        baseline: the surroundings that it was made with.
        main: the main program's own names, if they are in it.
    """
    process = Process(comm, watch, origin)
    process._state = wire.ROOT
    process._baseline = baseline
    if main is not None:
        process._main = main
    return process


def only_one_of(template: Process) -> Process:
    """The one process of a template that was launched for it.

    The handle on the template is kept as long as the handle on the process.

    Raises:
        TemplateDied, OSError: see `Process.fork`.
    """
    template.standby = 0
    process = template.fork()
    process._keep = template
    return process


def adopt(comm: int) -> Process:
    """The handle on a prepared process that another process handed over.

    Args:
        comm: the near end of its socket, which the handle owns from here on.

    Raises:
        OSError: no fd to be had here.
    """
    with Fds((comm,)) as near, Fds() as far:
        near_status, far_status = map(above_streams, status_pair())
        near.append(near_status)
        far.append(far_status)
        process = Process(near.take(), Watch(near.take(), None, None), "taken up")
        # Whether it has clones can't be known here; if so, one more clone must run in its stead.
        process._cloned = True
        process._add(wire.ADOPT, b"", far.take())
        process._flush()
    return process


def add(process: Process, op: int, payload: bytes, *fds: int) -> None:
    """Queue a frame; its fds are owned from here on."""
    process._add(op, payload, *fds)


# -- asking ---------------------------------------------------------------------------------------


def living() -> list[Process]:
    """All handles there are."""
    found = (reference() for reference in list(handles.values()))
    return [process for process in found if process is not None]


def comm_fd(process: Process) -> int:
    """The fd of the process's socket, which stays the handle's; -1 if it has none any more."""
    return process._comm


def baseline(process: Process) -> Context:
    """The surroundings that a root template was made with."""
    assert process._baseline is not None
    return process._baseline


def watch_of(process: Process) -> Watch:
    """What is known of the process's life, and what sees it end."""
    return process._watch


def serves(process: Process) -> bool:
    """Whether a template is there to be forked."""
    process._watch.refresh()
    with process._lock:
        found = process._standbys or process._begin_standbys()
        return not (process._watch.over or found.gone(process))


def own_fds(process: Process) -> set[int]:
    """Fds that are this handle's, and nobody's leak."""
    found = {process._comm, *(process._fds or ())}
    found.update(*process._in_flight)
    if process._standbys is not None:
        found |= process._standbys.own_fds()
    return found | process._watch.own_fds()


# -- a fork of the host ---------------------------------------------------------------------------


def begin_anew(process: Process, parent: int) -> None:
    """In the child of a host that forked itself: let go of what is its parent's.

    Another thread may have been in the middle of anything when the host forked.
    """
    process._lock = _thread.RLock()
    if process._standbys is not None:
        process._standbys.begin_anew()
    process._watch.foreign = process._watch.foreign or parent
    for fds in process._in_flight:
        fds.close()
    process._in_flight = ()
    if process._state != wire.ROOT:
        process._release()
        process._fds = None


def disown(process: Process) -> None:
    """Forget fds that somebody else closed, whose numbers may be other files by now."""
    if process._sock is not None:
        process._sock.detach()
    if process._standbys is not None:
        process._standbys.detach()
    process._sock = process._standbys = process._out = None
    if process._fds is not None:
        process._fds = Fds()
    process._comm = -1
    process._watch.disown()
    process._state = wire.NEXT[process._state, wire.CLOSE]


def forget_all() -> None:
    """In a snapshot: forget the handles of its main program, whose fds are closed by then."""
    for process in living():
        disown(process)
    handles.clear()
