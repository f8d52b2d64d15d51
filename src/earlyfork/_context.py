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
    except OSError:  # closed
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def cwd_identity() -> tuple[int, int] | None:
    """Device and inode of the current directory; None where it can't be told."""
    try:
        found = os.stat(".")
    except OSError:  # removed, or no right to look
        return None
    return found.st_dev, found.st_ino


def stdio_identity() -> tuple[tuple[int, int, int] | None, ...]:
    """What file each of fds 0, 1, 2 is; None for a closed one."""
    return _identity(0), _identity(1), _identity(2)


def same_place(cwd: object, stdio: object) -> bool:
    """Whether directory and streams are these. The owner's side puts the C code's in its place."""
    return cwd_identity() == cwd and stdio_identity() == stdio


def raw_environment() -> dict[bytes, bytes]:
    """The environment as `os.environ` keeps it (its own dict: do not change it)."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]


def env_changes(base: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> bytes:
    """What turns one environment into another: `name=value`, or `name` to remove, NUL between."""
    parts = [name + b"=" + value for name, value in wanted.items() if base.get(name) != value]
    parts += [name for name in base if name not in wanted]
    return b"\0".join(parts)


def apply_env(changes: bytes) -> None:
    """Do in this process what `env_changes` found."""
    for entry in changes.split(b"\0"):
        name, sep, value = entry.partition(b"=")
        if sep:
            os.environb[name] = value
        else:
            os.environb.pop(name, None)


def apply_path(payload: bytes) -> None:
    """Make `sys.path` the NUL-separated entries."""
    sys.path[:] = [os.fsdecode(entry) for entry in payload.split(b"\0")]


def null_fd() -> int:
    """An fd that reads as ended and swallows little: /dev/null, or a dead socket without one."""
    try:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a chroot without /dev
        import _socket

        ours, theirs = _socket.socketpair()
        theirs.close()
        return ours.detach()


def apply_stdio(kinds: bytes, fds: list[int]) -> None:
    """Set fds 0 to 2: `kinds` has an f (next of `fds`), n (/dev/null) or - (keep) for each."""
    for target, kind in enumerate(kinds):
        if kind == 45:  # "-"
            continue
        fd = fds.pop(0) if kind == 102 else null_fd()  # "f"
        os.dup2(fd, target)
        if fd != target:
            os.close(fd)
        name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[target]
        if getattr(sys, name) is None:  # closed when this interpreter started
            # A text stream as the interpreter makes one; errors never raise on stderr.
            errors = "backslashreplace" if target == 2 else None
            stream = open(target, mode, closefd=False, errors=errors)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        elif target == 1 and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(line_buffering=os.isatty(1))


def fill_streams() -> None:
    """Make sure that fds 0 to 2 are something, so that no socket ever lands there."""
    closed = [number for number, found in enumerate(stdio_identity()) if found is None]
    for number in closed:
        fd = null_fd()
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)
