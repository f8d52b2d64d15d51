"""What multiprocessing's children run."""

from __future__ import annotations

import json
import multiprocessing
from typing import TYPE_CHECKING, Any

import earlyfork

if TYPE_CHECKING:
    import socket


def answer(number: int) -> dict[str, Any]:
    status = earlyfork.status()
    return {"answer": number * number, "early": status.early, "reason": status.reason}


def spawn_from_a_worker(sock: socket.socket) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sock.sendall(json.dumps(pool.apply(answer, (7,))).encode())
