"""A module that looks, while it is loaded, which signals are blocked (contract/test_preparing.py)."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

MASK = signal.pthread_sigmask(signal.SIG_BLOCK, ())


def tell(sock: socket.socket, *values: object) -> None:
    sock.send(repr((MASK, values)).encode())
