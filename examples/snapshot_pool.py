"""A pool of workers that share the big data which the main program has loaded.

The import of TEMPLATE takes a snapshot of the program: what is defined or loaded above that line is
in every worker, in memory that all of them share until somebody writes to it. A worker that dies
takes down the one item it was at; the others go on, and a new worker takes its place.

    python snapshot_pool.py
"""

import os
import signal
import socket
from collections import deque
from collections.abc import Iterable
from contextlib import closing
from multiprocessing.connection import Connection, wait
from typing import Any

WORKERS = 3
#: The big data. Here: the number of divisors of each number.
DIVISORS = [0] * 200_000
for step in range(1, len(DIVISORS)):
    for multiple in range(step, len(DIVISORS), step):
        DIVISORS[multiple] += 1


def divisors(number: int) -> int:
    """What is asked of the workers."""
    if number == 13:  # so that there is something to see
        os.kill(os.getpid(), signal.SIGKILL)
    return DIVISORS[number]


def work(sock: socket.socket) -> None:
    """What a worker does: answer each item that comes, to the end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the main program, and so the socket
    connection = Connection(sock.detach())
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            connection.send(divisors(item))
        except Exception as error:
            connection.send(error)


from earlyfork.template import TEMPLATE


class Pool:
    """Workers, made when there is something to do."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle: list[Connection] = []
        self.processes = {}

    def close(self) -> None:
        """End the workers."""
        for connection in list(self.processes):
            self._end(connection)

    def _worker(self) -> Connection:
        if self.idle:
            return self.idle.pop()
        process = TEMPLATE.fork()
        connection = Connection(process.run(work).detach())
        self.processes[connection] = process
        return connection

    def _end(self, connection: Connection) -> int:
        """Let a worker see the end of its socket, if it is not dead already; its exit status."""
        connection.close()
        return self.processes.pop(connection).wait(timeout=10)

    def map(self, items: Iterable[Any]) -> list[Any]:
        """The answer to each item, in order; an exception in the place of one that failed."""
        todo = deque(enumerate(items))
        answers = [None] * len(todo)
        busy: dict[Connection, int] = {}
        while todo or busy:
            while todo and len(busy) < self.size:
                connection = self._worker()
                try:
                    connection.send(todo[0][1])
                except BrokenPipeError:  # died while it was idle
                    self._end(connection)
                else:
                    busy[connection], _ = todo.popleft()
            for connection in wait(list(busy)):
                place = busy.pop(connection)
                try:
                    answers[place] = connection.recv()
                except (EOFError, ConnectionResetError):  # nobody will answer any more
                    status = self._end(connection)
                    answers[place] = ChildProcessError(f"its worker died with status {status}")
                else:
                    self.idle.append(connection)
        return answers


with closing(Pool(WORKERS)) as pool:
    numbers = [1, 12, 13, 97, 5040, 10**6, 151_200]
    for number, answer in zip(numbers, pool.map(numbers), strict=True):
        print(f"{number}: {answer!r}")
