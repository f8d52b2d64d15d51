"""Functions that the tests of pools call in workers."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

STATE: dict[str, Any] = {}


def note_init(*args: Any) -> None:
    STATE["init"] = args


def noted() -> Any:
    return STATE.get("init")


def fail_init() -> None:
    raise LookupError("no table")


def die_in_init() -> None:
    os._exit(5)


def fail_two_of_three(path: str) -> None:
    """As an init of one worker after the other."""
    with open(path, "a") as file:
        file.write("x")
        file.flush()
        number = os.fstat(file.fileno()).st_size
    if number % 3:
        raise LookupError("not yet")


def leave_mark(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def mark_and_wait(path: str, until: str) -> int:
    """Say by a file that this runs, and wait for another one."""
    leave_mark(path)
    while not os.path.exists(until):
        time.sleep(0.001)
    return os.getpid()


def mark_and_sleep(path: str) -> None:
    leave_mark(path)
    time.sleep(60)


def mark_and_die(path: str) -> None:
    leave_mark(path)
    os.kill(os.getpid(), 9)


def die_unless(path: str) -> int:
    """Dies the first time, and not again."""
    if not os.path.exists(path):
        leave_mark(path)
        os._exit(9)
    return os.getpid()


def says_and_dies(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
    os._exit(1)


def grow(size: int) -> int:
    STATE["held"] = b"x" * size
    return os.getpid()


def pool_in_here(count: int) -> list[int]:
    from earlyfork.pool import Pool

    with Pool(max_workers=2) as pool:
        return list(pool.map(abs, range(-count, 0)))
