"""What the workers of frozen_app.py run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def say(sock: socket.socket) -> None:
    sock.sendall(b"x")
