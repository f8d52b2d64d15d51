"""The one thread that hands out what comes on stderr, where somebody wants that.

It begins with the first connection that has a callback, and ends by itself when none has been left
for a moment.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Milliseconds for which it waits for another connection before it ends.
LINGER = 500


class Reader:
    """The thread, and what it reads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: dict[int, tuple[socket.socket, Callable[[bytes], object]]] = {}
        self.pair: tuple[socket.socket, socket.socket] | None = None

    def add(self, sock: socket.socket, callback: Callable[[bytes], object]) -> None:
        """Call `callback` with all that comes here, until its end; owns the socket."""
        sock.setblocking(False)
        with self.lock:
            self.found[sock.fileno()] = sock, callback
            if self.pair is None:
                self.pair = socket.socketpair()
                threading.Thread(
                    target=self._run, args=(self.pair[1],), name="earlyfork-remote", daemon=True
                ).start()
            self.pair[0].send(b"!")

    def _run(self, wake: socket.socket) -> None:
        while True:
            with self.lock:
                found = dict(self.found)
            poller = select.poll()
            for fd in (wake.fileno(), *found):
                poller.register(fd, select.POLLIN)
            happened = poller.poll(None if found else LINGER)
            with self.lock:
                if not happened and not self.found:
                    assert self.pair is not None
                    for sock in self.pair:
                        sock.close()
                    self.pair = None
                    return
            for fd, _ in happened:
                if fd == wake.fileno():
                    wake.recv(64)
                else:
                    self._read(fd, *found[fd])

    def _read(self, fd: int, sock: socket.socket, callback: Callable[[bytes], object]) -> None:
        try:
            data = sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:  # the relay was killed with something unread
            data = b""
        if not data:
            with self.lock:
                self.found.pop(fd, None)
            sock.close()
            return
        try:
            callback(data)
        except Exception as error:  # the user's; the next bytes are told all the same
            threading.excepthook(
                threading.ExceptHookArgs(
                    (type(error), error, error.__traceback__, threading.current_thread())
                )
            )


class _Only:
    reader = Reader()


def reader() -> Reader:
    """The program's one."""
    return _Only.reader


def _after_fork_in_child() -> None:
    former, _Only.reader = _Only.reader, Reader()
    for sock in (*(former.pair or ()), *(sock for sock, _ in former.found.values())):
        sock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
