"""What the workers run. Named only as a string."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket


def work(sock: socket.socket, pipe: int, word: str) -> None:
    """Use the handle and say who this is."""
    os.write(pipe, f"pipe got {word}".encode())
    os.close(pipe)
    said = {
        "pid": os.getpid(),
        "version": list(sys.version_info[:3]),
        "app_in_main": hasattr(sys.modules["__main__"], "host_library"),
    }
    sock.sendall(json.dumps(said).encode())
