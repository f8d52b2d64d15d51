"""The beginning of a root template: a process in which everything is reset, and that then serves.

Part of the child's text, and the last of it.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys
from functools import partial

from earlyfork import _context, _quickly
from earlyfork import _wire as wire
from earlyfork._children import AF_UNIX, STREAM, write_status
from earlyfork._guard import BLOCKED
from earlyfork._here import here, set_name
from earlyfork._hot import quick
from earlyfork._leave import finish
from earlyfork._serve import Server

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import NoReturn


def reset_signals() -> None:
    """What a fresh interpreter has, whatever the main program set; a terminal's signals wait."""
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


def serve_root(comm: int, status: int, default: int = -1, *, can_ask: bool = True) -> NoReturn:
    """Be a root template: serve `comm` until its last holder is gone.

    `default` is a snapshot's way to the clean template that its main program had.
    """
    reset_signals()
    set_name("ef-template")
    here.__init__()  # type: ignore[misc]  # a snapshot of a worker begins anew
    here.kind = "template"
    here.can_ask = can_ask
    server = Server(_socket.socket(AF_UNIX, STREAM, 0, comm))
    here.lifeline = status
    if default >= 0:
        server.default = _socket.socket(AF_UNIX, STREAM, 0, default)
    write_status(status, wire.PID, b"%d" % os.getpid())
    if quick is not None:
        finish(partial(quick.serve, partial(_quickly.step, server)))
    job = server.serve()
    assert job is not None
    del server
    finish(job)


def serve_launched(comm: int, status: int, env: dict[bytes, bytes]) -> NoReturn:
    """The same in an interpreter that was launched for it."""
    # The interpreter may have changed its environment when it started (PEP 538: LC_CTYPE).
    changes = _context.env_changes(_context.raw_environment(), env)
    if changes:
        _context.apply_env(changes)
    _context.fill_streams()
    sys.argv = [""]
    serve_root(comm, status)
