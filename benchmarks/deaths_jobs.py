"""What the workers of benchmarks/deaths.py are given to do."""

import os
import signal
import time


def dies(path: str) -> None:
    """Note the time, and be killed."""
    with open(path, "w") as file:  # noqa: PTH123 - pathlib would be imported in each new worker
        file.write(repr(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


def lasts(path: str) -> int:
    """A bystander, which says when it has begun."""
    with open(path, "w"):  # noqa: PTH123
        time.sleep(0.5)
    return 7


def answers() -> int:
    return 7
