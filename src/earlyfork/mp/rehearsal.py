"""What a standby of a prepared template does once before it waits: all that a worker's start does.

What a process touches for the first time after a fork is copied, page by page. These copies are
nearly all of what a worker's start costs. A standby has made them when it is taken.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from multiprocessing import context as _context
from multiprocessing import process
from multiprocessing import util as _util
from posix import close
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

util: Any = _util  # its private half, which start methods share, is not in the type stubs


def _is_the_stdlibs(method: Any) -> bool:
    """Whether a method of a process is multiprocessing's own, and nobody put another in its place.

    What is put there (coverage does) is to be run once in each process that somebody started. A
    wrapper that names itself like what it wraps is told by its file.
    """
    code = getattr(method, "__code__", None)
    return code is not None and code.co_filename == process.active_children.__code__.co_filename


class Rehearsal:
    """Called in a standby: a worker's start and end, for a process object that does nothing."""

    def __init__(self, message: bytes, take_over: Callable[[socket.socket], Any]) -> None:
        """Made in a template, when that is prepared.

        Args:
            message: all that a worker would be sent.
            take_over: what a worker calls to take that over; it returns the process object.
        """
        self.message = message
        self.take_over = take_over

    def __call__(self) -> None:
        """Called in the standby. All that the start and the end have changed is put back."""
        with contextlib.suppress(Exception):  # no fds or no memory: a rehearsal is for speed only
            near, far = socket.socketpair()
            with near, far, self._as_before():
                near.sendall(self.message)
                job = self.take_over(far)
                if _is_the_stdlibs(job._bootstrap) and _is_the_stdlibs(job.run):
                    job._bootstrap(parent_sentinel=None)

    @contextlib.contextmanager
    def _as_before(self) -> Iterator[None]:
        """Have nobody see this start and end, which are no real ones, and put all back then."""
        threading: Any = sys.modules["threading"]
        default: Any = _context._default_context
        kept = (
            *((process, name) for name in ("_current_process", "_parent_process", "_children")),
            *((process, "_process_counter"), (default, "_actual_context"), (sys, "stdin")),
            *((util, "_logger"), (util, "_exiting"), (threading, "_shutdown")),
            (util, "_run_after_forkers"),
        )
        saved = [(place, name, getattr(place, name)) for place, name in kept]
        stdin = sys.stdin
        util._logger = None
        threading._shutdown = util._run_after_forkers = int
        try:
            yield
        finally:
            if sys.stdin is not stdin:
                close(sys.stdin.fileno())
            for place, name, value in saved:
                setattr(place, name, value)
