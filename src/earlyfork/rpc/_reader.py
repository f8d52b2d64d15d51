"""The one thread that reads for all clients of which callbacks are wanted, and for no others.

It begins with the first of them, and ends by itself when none has been left for a moment.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class Client(Protocol):
        """A client, as this thread sees it."""

        def fileno(self) -> int: ...
        def next_time(self) -> float | None: ...
        def reader_may_read(self) -> bool: ...
        def read_as_reader(self) -> bool: ...
        def reader_leaves(self) -> None: ...


#: Seconds for which it waits for another client before it ends.
LINGER = 0.5


class Reader:
    """The thread, and the clients that it reads for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clients: dict[int, Client] = {}
        self.thread: threading.Thread | None = None
        self.ident = 0
        self.near: socket.socket | None = None
        self.far: socket.socket | None = None

    def add(self, client: Client) -> None:
        """Read for this client, too. It says itself when that is no longer needed."""
        with self.lock:
            self.clients[id(client)] = client
            if self.thread is None:
                self.near, self.far = socket.socketpair()
                self.near.setblocking(False)
                self.far.setblocking(False)
                self.thread = threading.Thread(
                    target=self._run, args=(self.far,), name="earlyfork-rpc", daemon=True
                )
                self.thread.start()
        self.wake()

    def wake(self) -> None:
        """Have the thread look at its clients anew."""
        near = self.near
        try:
            if near is not None:
                near.send(b"!")
        except (BlockingIOError, OSError):  # it has enough to wake for, or is gone already
            return

    def _run(self, far: socket.socket) -> None:
        self.ident = threading.get_ident()
        idle_since: float | None = None
        while True:
            with self.lock:
                clients = list(self.clients.values())
                if clients:
                    idle_since = None
                elif idle_since is None:
                    idle_since = monotonic()
                elif monotonic() >= idle_since + LINGER:
                    self._end()
                    return
            self._turn(far, clients)
            del clients

    def _end(self) -> None:
        """Under the lock, with no clients left."""
        near, far, self.near, self.far = self.near, self.far, None, None
        self.thread, self.ident = None, 0
        for sock in (near, far):
            if sock is not None:
                sock.close()

    def _turn(self, far: socket.socket, clients: list[Client]) -> None:
        poller = select.poll()
        poller.register(far.fileno(), select.POLLIN)
        times = [monotonic() + LINGER] if not clients else []
        by_fd = {}
        for client in clients:
            # Where another thread reads just now, that one wakes this when it has done so.
            if client.reader_may_read():
                poller.register(client.fileno(), select.POLLIN)
                by_fd[client.fileno()] = client
            earliest = client.next_time()
            if earliest is not None:
                times.append(earliest)
        left = max(0, int((min(times) - monotonic()) * 1000 + 0.999)) if times else None
        for fd, _ in poller.poll(left):
            if fd == far.fileno():
                try:
                    far.recv(4096)
                except BlockingIOError:
                    continue
        for client in clients:
            if not client.read_as_reader():
                with self.lock:
                    self.clients.pop(id(client), None)
                client.reader_leaves()


class _Only:
    reader = Reader()


def reader() -> Reader:
    """The program's one."""
    return _Only.reader


def _after_fork_in_child() -> None:
    former, _Only.reader = _Only.reader, Reader()
    for sock in (former.near, former.far):
        if sock is not None:
            sock.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
