"""What the new processes run. Imported before earlyfork, so that every early template has it.

Imports nothing: what it takes to load a user's modules is not what is measured.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


def nothing(_sock: "socket.socket") -> None:
    """Be there."""


def hello(sock: "socket.socket") -> None:
    """Send the first byte."""
    sock.send(b"x")


def idle(sock: "socket.socket") -> None:
    """Send the first byte, then wait to be let go."""
    sock.send(b"x")
    sock.recv(1)


def held(sock: "socket.socket", fd: int) -> None:
    """Send the first byte and hang up, then wait for the end of a pipe."""
    import os

    sock.send(b"x")
    sock.close()
    os.read(fd, 1)


# The same for multiprocessing, loky and trio-parallel, which have their own channels.


def mp_hello(connection: object) -> None:
    """Send the first byte."""
    connection.send_bytes(b"x")  # type: ignore[attr-defined]


def mp_idle(connection: object) -> None:
    """Send the first byte, then wait to be let go."""
    connection.send_bytes(b"x")  # type: ignore[attr-defined]
    connection.recv_bytes()  # type: ignore[attr-defined]


def answer() -> int:
    """Return something."""
    return 1
