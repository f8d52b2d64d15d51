"""What the rest of earlyfork needs of a `Process` and its users do not.

These are functions and no methods, so that the class has nothing but what users need. Only this
folder knows a handle's underscored attributes.
"""

from __future__ import annotations

import _thread
import contextlib
import os
from typing import TYPE_CHECKING

from earlyfork._ground.errors import EarlyForkError
from earlyfork._owner import executing
from earlyfork._owner.own import Own, owned
from earlyfork._owner.process import Process, handles
from earlyfork._owner.taken_up import TakenUp
from earlyfork._shared import wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from earlyfork._context import Context
    from earlyfork._owner.own import Owns
    from earlyfork._owner.watch import Watch
    from earlyfork._shared import payloads


# -- making one -----------------------------------------------------------------------------------


def root(
    comm: Own,
    watch: Watch,
    origin: str,
    baseline: Context,
    main: dict[str, object] | None = None,
) -> Process:
    """The handle on a root template.

    Args:
        comm: the near end of its socket, which the handle owns from here on, if there is one.
        watch: what sees it end.
        origin: "early", "exec" or "snapshot".
        baseline: the surroundings that it was made with.
        main: the main program's own names, if they are in it.
    """
    process = Process(comm, watch, origin)
    process._state = wire.ROOT
    process._baseline = baseline
    watch.is_bare = main is None
    if main is not None:
        process._main = main
    return process


def far_root(comm: socket.socket, status: socket.socket, *, trusted: bool) -> Process:
    """The handle on a root template of another machine; owns both sockets.

    Args:
        comm: the near end of its socket.
        status: the near end of its status socket.
        trusted: whether what its processes send may be unpickled.
    """
    from earlyfork._owner.far import FarWatch, owned_ends  # here, since few programs need it

    end, watch = Own(), FarWatch(trusted=trusted)
    owned_ends(comm, status, (end, watch))
    process = Process(end, watch, "remote")
    process._state = wire.ROOT
    watch.is_bare = True
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


def adopt(detach: Callable[[], int]) -> Process:
    """The handle on a prepared process that another process handed over.

    Args:
        detach: gives the near end of its socket up, which the handle owns from here on.

    Raises:
        OSError: no fd to be had here.
    """
    watch = TakenUp()
    status = watch.begin()
    process = Process(owned(detach), watch, "taken up")
    # Whether it has clones can't be known here; if so, one more clone must run in its stead.
    process._cloned = True
    process._add(wire.ADOPT, b"", (status,))
    process._flush()
    return process


def add(process: Process, op: int, payload: bytes, fds: Sequence[Own] = ()) -> None:
    """Queue a frame; its fds are owned from here on."""
    process._add(op, payload, fds)


def ask_to_execute(template: Process, command: payloads.Command, fds: Owns) -> Watch | None:
    """Have a root template execute a command; None if it is gone, and nothing was executed.

    Raises:
        OSError: no fd to be had here.
    """
    if template._watch.over or template._broken:
        for own in fds:
            own.close()
        return None
    return executing.ask(template, command, fds)


def executed_by(
    template: Process, watch: Watch, command: payloads.Command, file: object, cwd: object
) -> Process | None:
    """The command for which a template was asked; None if it wants that done elsewhere.

    Raises:
        OSError: it could not be executed.
        TemplateDied: the template ended in the middle, and nobody knows whether the command was
            executed.
    """
    process = Process(Own(), watch, template.origin)  # now, while the template works
    process._execution = executing.Execution(file, cwd, executed=True)
    process._state = wire.NEXT[wire.OPEN, wire.EXEC]
    process._target = os.fsdecode(command.file.rpartition(b"/")[2])
    return process if executing.answer(watch, file, cwd) else None


# -- asking ---------------------------------------------------------------------------------------


def living() -> list[Process]:
    """All handles there are."""
    found = (reference() for reference in list(handles.values()))
    return [process for process in found if process is not None]


def comm_fd(process: Process) -> int:
    """The fd of the process's socket, which stays the handle's; -1 if it has none any more."""
    return process._comm


def is_ours(process: Process) -> bool:
    """Whether the process's socket is still its own: somebody may have closed all fds."""
    return process._is_ours()


def baseline(process: Process) -> Context:
    """The surroundings that a root template was made with."""
    assert process._baseline is not None
    return process._baseline


def standing(process: Process, ask: Callable[[int], object]) -> object:
    """What a root template stands at, asked once; None if it is gone. Waits for its pid."""
    if process._standing is None:
        with contextlib.suppress(EarlyForkError, OSError):  # who asks it for something is told
            process._standing = ask(process._watch.pid())
    return process._standing


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
    found = {process._comm}
    found.update(own.fd for _, owns in process._out or () for own in owns)
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
    for reference in process._in_flight:
        for own in reference() or ():
            own.close()
    process._in_flight = ()
    if process._state != wire.ROOT:
        for _, owns in process._out or ():
            for own in owns:
                own.close()
        process._release()


def disown(process: Process) -> None:
    """Forget fds that somebody else closed, whose numbers may be other files by now."""
    process._end.release()
    if process._standbys is not None:
        process._standbys.detach()
    for _, owns in process._out or ():
        for own in owns:
            own.release()
    process._standbys = process._out = None
    process._watch.disown()
    process._state = wire.NEXT[process._state, wire.CLOSE]


def forget_all() -> None:
    """In a snapshot: forget the handles of its main program, whose fds are closed by then."""
    for process in living():
        disown(process)
    handles.clear()
