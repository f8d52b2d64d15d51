"""What a process looks like to code that runs in it: environment, directory, path, streams.

Part of the child's text. Stdlib only; must stay cheap, since the main program runs it on the line
that imports earlyfork.
"""

import os
import sys


class Context:
    """A process's surroundings at one moment."""

    __slots__ = ("cwd", "env", "path", "stdio")

    def __init__(self) -> None:
        self.env = dict(raw_environment())
        self.cwd = cwd_identity()
        self.path = sys.path[:]
        self.stdio = stdio_identity()

    def holds(self, env: dict[bytes, bytes]) -> bool:
        """Whether all of this is still so, with `env` as the environment."""
        return env == self.env and sys.path == self.path and same_place(self.cwd, self.stdio)


def _identity(fd: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError as error:  # closed
        if isinstance(error, TimeoutError):  # out of a signal handler
            raise
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def cwd_identity() -> tuple[int, int] | None:
    """Device and inode of the current directory; None where it can't be told."""
    try:
        found = os.stat(".")
    except OSError as error:  # removed, or no right to look
        if isinstance(error, TimeoutError):  # out of a signal handler
            raise
        return None
    return found.st_dev, found.st_ino


def stdio_identity() -> tuple[tuple[int, int, int] | None, ...]:
    """What file each of fds 0, 1, 2 is; None for a closed one."""
    return _identity(0), _identity(1), _identity(2)


def same_place(cwd: object, stdio: object) -> bool:
    """Whether directory and streams are these. The owner's side puts the C code's in its place."""
    return cwd_identity() == cwd and stdio_identity() == stdio


def raw_environment() -> dict[bytes, bytes]:
    """The environment as `os.environ` keeps it (its own dict: do not change it).

    A program may have put another mapping in the place of `os.environ`; then that counts.
    """
    try:
        return os.environ._data  # type: ignore[attr-defined,no-any-return]
    except AttributeError:
        return {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
