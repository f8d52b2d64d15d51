"""The keeper's half of `_stderr`: a thread for each worker reads its stderr and passes it on."""

from __future__ import annotations

import threading
from posix import read, write
from select import POLLOUT, poll
from typing import Any

__all__ = ["keep", "tail"]

#: How many bytes are remembered of each worker.
LENGTH = 4096
#: Seconds to wait for the end of a pipe that others than the worker may hold: what it has forked.
PATIENCE = 0.3
#: Of so many dead workers nobody has asked for the last words.
MOST = 256

_tees: dict[int, Tee] = {}


class Tee(threading.Thread):
    """Reads one pipe to its end."""

    def __init__(self, pipe: Any, out: Any) -> None:
        super().__init__()
        self.pipe = pipe
        self.out = out
        self.tail = b""

    def run(self) -> None:
        """Read, remember, pass on."""
        with self.pipe:
            while data := read(self.pipe.fileno(), 65536):
                self.tail = (self.tail + data)[-LENGTH:]
                if self.out is not None:
                    self.pass_on(memoryview(data))
        if self.out is not None:
            self.out.close()

    def pass_on(self, data: memoryview) -> None:
        """Write all of it; once nobody reads it, what comes is remembered only."""
        while data:
            try:
                data = data[write(self.out.fileno(), data) :]
            except BlockingIOError:
                poller = poll()
                poller.register(self.out.fileno(), POLLOUT)
                poller.poll()
            except OSError:
                self.out.close()
                self.out = None
                return


def keep(number: int, pipe: Any, out: Any) -> None:
    """Begin to read a worker's stderr."""
    ended = [other for other, tee in _tees.items() if not tee.is_alive()]
    for other in ended[:-MOST]:
        del _tees[other]
    _tees[number] = Tee(pipe, out)
    _tees[number].start()


def tail(number: int) -> bytes:
    """The end of what a worker has written, now that it is dead."""
    tee = _tees.pop(number)
    tee.join(PATIENCE)
    return tee.tail
