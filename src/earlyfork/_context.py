"""What a process looks like to code that runs in it: environment, directory, path, streams.

Part of the child's text. Stdlib only; must stay cheap, since the main program runs it on the line
that imports earlyfork.
"""

import os
import sys

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from types import ModuleType


class Context:
    """A process's surroundings at one moment."""

    __slots__ = ("cwd", "env", "path", "root", "stdio")

    def __init__(self) -> None:
        self.env = dict(raw_environment())
        self.root = directory_identity("/")
        self.cwd = directory_identity(".")
        self.path = sys.path[:]
        self.stdio = stdio_identity()

    def holds(self, env: dict[bytes, bytes]) -> bool:
        """Whether all of this is still so, with `env` as the environment."""
        same = env == self.env and sys.path == self.path
        return same and same_place(self.root, self.cwd, self.stdio)


def _identity(fd: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError as error:  # closed
        if isinstance(error, TimeoutError):  # out of a signal handler
            raise
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def directory_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a directory; None where they can't be told."""
    try:
        found = os.stat(path)
    except OSError as error:  # removed, or no right to look
        if isinstance(error, TimeoutError):  # out of a signal handler
            raise
        return None
    return found.st_dev, found.st_ino


def stdio_identity() -> tuple[tuple[int, int, int] | None, ...]:
    """What file each of fds 0, 1, 2 is; None for a closed one."""
    return _identity(0), _identity(1), _identity(2)


def same_place(root: object, cwd: object, stdio: object) -> bool:
    """Whether directories and streams are these. The owner's side uses the C code for it."""
    same = directory_identity("/") == root and directory_identity(".") == cwd
    return same and stdio_identity() == stdio


def raw_environment() -> dict[bytes, bytes]:
    """The environment as `os.environ` keeps it. This is its own dict: do not change it.

    If a program has put another mapping in the place of `os.environ`, that mapping counts.
    """
    try:
        return os.environ._data  # type: ignore[attr-defined,no-any-return]
    except AttributeError:
        return {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}


def fresh_main() -> "ModuleType":
    """Put an empty `__main__` in the place of the present one, which the caller keeps.

    It has no file, else multiprocessing would run the wrong one again.
    """
    before = sys.modules["__main__"]
    main: ModuleType = type(sys)("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    main.__dict__["__annotations__"] = {}  # noqa: RUF063 - set, not read
    main.__spec__ = None
    sys.modules["__main__"] = main
    return before
