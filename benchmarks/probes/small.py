"""A small module of a user's: what a prepared template has loaded, or a new process loads.

It imports nothing: what other modules take to load is not what is measured.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

LIMITS = {"low": 1, "high": 10}


class Counter:
    """Something that a module defines."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def up(self, by: int = 1) -> int:
        """Count."""
        self.value = min(self.value + by, LIMITS["high"])
        return self.value


def nothing(_sock: "socket.socket", *_luggage: object) -> None:
    """Be there."""


def hello(sock: "socket.socket", *_luggage: object) -> None:
    """Send the first byte."""
    sock.send(b"x")


def idle(sock: "socket.socket", *_luggage: object) -> None:
    """Send the first byte, then wait to be let go."""
    sock.send(b"x")
    sock.recv(1)
