"""The beginning of a root template: the process resets everything, and then serves.

This file is the last of the child's text, and the one place that puts its parts together.
"""

from __future__ import annotations

import _signal
import os
import sys

from earlyfork import _context
from earlyfork._child import late_socket, quick_loop, rights
from earlyfork._child.commands import OBEY
from earlyfork._child.ending import finish
from earlyfork._child.guard import BLOCKED
from earlyfork._child.hearing import hear
from earlyfork._child.here import here, set_name
from earlyfork._child.rehearsal import rehearse
from earlyfork._child.server import Server, kept
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import fork
from earlyfork._shared.quick import quick
from earlyfork._shared.sockets import stream_on, write_status
from earlyfork._shared.surroundings import apply_env, env_changes, fill_streams

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from functools import partial
    from typing import NoReturn
else:
    from _functools import partial  # `functools` would load `collections` and more


def reset_signals() -> None:
    """Set the handlers of a fresh interpreter, and block what a root template blocks."""
    as_python = {
        _signal.SIGINT: _signal.default_int_handler,
        _signal.SIGPIPE: _signal.SIG_IGN,
        getattr(_signal, "SIGXFSZ", _signal.SIGPIPE): _signal.SIG_IGN,
    }
    _signal.set_wakeup_fd(-1)
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
        wanted = as_python.get(number, _signal.SIG_DFL)
        if _signal.getsignal(number) != wanted:
            _signal.signal(number, wanted)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, {*BLOCKED, _signal.SIGTERM})


def keep_faulthandler() -> None:
    """If the main program has a crash print its traceback, have that done in this process, too.

    The handlers for it were reset with all others, and Python's `signal` does not know them.
    """
    module = sys.modules.get("faulthandler")
    if module is not None:
        was_enabled = module.is_enabled()
        module.disable()  # or `enable` would believe that its handlers are there
        if was_enabled:
            module.enable()


def serve_root(
    comm: int, status: int, default: int = -1, *, can_ask: bool = True, launched: bool = False
) -> NoReturn:
    """Be a root template: serve `comm` until its last holder is gone.

    Args:
        comm: the socket to the owner.
        status: this process's end of its own status socket.
        default: in a snapshot, the way to the clean template that its main program had; else -1.
        can_ask: whether requests for processes (NEW) find a clean template from here.
        launched: whether this process was launched. Then it forks itself free of the main program:
            at the last moment, since all that is touched after a fork is copied.
    """
    reset_signals()
    keep_faulthandler()
    set_name("ef-template")
    here.__init__()  # type: ignore[misc]  # a snapshot of a worker begins anew
    here.kind = "template"
    here.can_ask = can_ask
    here.rights = rights.of_this_process()
    server = Server(stream_on(comm), OBEY, hear, rehearse)
    here.lifeline = status
    if default >= 0:
        server.default = stream_on(default)
    try:
        late_socket.socket_class()  # loaded now, if it is to be, and not when somebody waits
    except Exception:  # by 3.13.0 in a directory that was removed, say: then by each one itself
        late_socket.put_off()
    first = None
    if launched:
        try:
            server.be_forker()
            first = None if quick is None else quick_loop.usual(server)
        except OSError:  # no fds: the one who asks for a process is told
            first = None
        if fork():
            os._exit(0)
    write_status(status, wire.PID, payloads.pack_number(os.getpid()))
    if quick is not None:
        finish(partial(quick.serve, partial(quick_loop.step, server), first))
    job = server.serve()
    assert job is not None
    del server
    finish(job)


def serve_launched(comm: int, status: int, env: dict[bytes, bytes], *, alone: bool) -> NoReturn:
    """The same in an interpreter that was launched for it.

    Args:
        comm: the socket to the owner.
        status: this process's end of its own status socket.
        env: the environment that it was launched with.
        alone: whether a single process will be forked from it.
    """
    # The interpreter may have changed its environment when it started (PEP 538: LC_CTYPE).
    apply_env(env_changes(_context.raw_environment(), env))
    fill_streams()
    sys.argv = [""]
    kept.append(_context.fresh_main())
    if alone:
        late_socket.put_off()
    serve_root(comm, status, launched=True)
