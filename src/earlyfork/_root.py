"""The beginning of a root template: a process in which everything is reset, and that then serves.

Part of the child's text, and the last of it.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys

from earlyfork import _context, _later, _quickly
from earlyfork import _wire as wire
from earlyfork._children import AF_UNIX, STREAM, write_status
from earlyfork._guard import BLOCKED
from earlyfork._here import here, set_name
from earlyfork._hot import quick
from earlyfork._leave import finish
from earlyfork._serve import Server, _kept

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from functools import partial
    from types import ModuleType
    from typing import NoReturn
else:
    from _functools import partial  # `functools` would load `collections` and more


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


def fresh_main() -> None:
    """An empty `__main__`: without a file, else multiprocessing would run the wrong one again."""
    _kept.append(sys.modules["__main__"])
    main: ModuleType = type(sys)("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    main.__dict__["__annotations__"] = {}  # noqa: RUF063 - set, not read
    main.__spec__ = None
    sys.modules["__main__"] = main


def serve_root(
    comm: int, status: int, default: int = -1, *, can_ask: bool = True, launched: bool = False
) -> NoReturn:
    """Be a root template: serve `comm` until its last holder is gone.

    `default` is a snapshot's way to the clean template that its main program had. One that was
    launched forks itself free of the main program: at the last moment, since all that is touched
    after a fork is copied.
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
    _later.socket_class()  # loaded now, if it is to be, and not when somebody waits
    first = None
    if launched:
        try:
            server.be_forker()
            first = None if quick is None else _quickly.usual(server)
        except OSError:  # no fds: whoever asks is told
            first = None
        if os.fork():
            os._exit(0)
    write_status(status, wire.PID, b"%d" % os.getpid())
    if quick is not None:
        finish(partial(quick.serve, partial(_quickly.step, server), first))
    job = server.serve()
    assert job is not None
    del server
    finish(job)


def serve_launched(comm: int, status: int, env: dict[bytes, bytes], *, alone: bool) -> NoReturn:
    """The same in an interpreter that was launched for it; `alone`: for a single process."""
    # The interpreter may have changed its environment when it started (PEP 538: LC_CTYPE).
    changes = _context.env_changes(_context.raw_environment(), env)
    if changes:
        _context.apply_env(changes)
    _context.fill_streams()
    sys.argv = [""]
    fresh_main()
    if alone:
        _later.put_off()
    serve_root(comm, status, launched=True)
