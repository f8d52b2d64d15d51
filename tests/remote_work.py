"""What the tests of earlyfork.remote run over there; it is shipped, since no test's path is there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


def echo(sock: socket.socket, *values: object) -> None:
    """Say what was given, then send back what comes, up to its end."""
    sock.sendall(f"{values!r}\n".encode())
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def count(sock: socket.socket, size: int) -> None:
    """Send so many bytes, then say how many have come."""
    sock.sendall(b"x" * size)
    sock.shutdown(1)
    got = 0
    while data := sock.recv(1 << 16):
        got += len(data)
    sys.exit(0 if got == size else 1)


def wait(sock: socket.socket) -> None:
    """Say that this runs, then wait for the end of the socket."""
    sock.sendall(b"!")
    sock.recv(1)


def linger(sock: socket.socket) -> None:
    """Say the pid, then wait for ever, whatever becomes of the socket."""
    import signal

    sock.sendall(str(os.getpid()).encode())
    while True:
        signal.pause()


def die(_sock: socket.socket, how: str, number: int) -> None:
    """End by a status, an error, or a signal."""
    if how == "exit":
        sys.exit(number)
    if how == "raise":
        raise LookupError("nothing there")
    os.kill(os.getpid(), number)


def prints(_sock: socket.socket, text: str, size: int = 0) -> None:
    """Print to both streams, then so many bytes."""
    print(text)
    print(text.upper(), file=sys.stderr)
    print("-" * size, file=sys.stderr)


def go_on(sock: socket.socket, python: str) -> None:
    """Connect from there to a third place, and pass on what a process there says."""
    from earlyfork import remote

    with remote.connect(["env"], python=python) as host:
        remote.ship(host, "remote_work")
        process = host.fork().send_arg("from afar")
        with process.run("remote_work.echo") as far:
            far.shutdown(1)
            sock.sendall(far.recv(1 << 16))
        sys.exit(process.wait(20) + 3)


def add(one: Any, two: Any) -> Any:
    """Add two values."""
    return one + two


class Hostile:
    """What a host may send that wants to run code here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("kill -9 $PPID",)


def hostile() -> Hostile:
    """Give such a value."""
    return Hostile()


def fail_hostile() -> None:
    """Raise one that is pickled as such a value."""
    error = HostileError("odd")
    raise error


class HostileError(Exception):
    """An error that wants to run code where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("kill -9 $PPID",)
