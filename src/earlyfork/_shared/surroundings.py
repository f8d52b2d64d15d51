"""Give this process the surroundings that its owner has: environment, path, streams.

What belongs to the surroundings, says `_context`. Both halves find differences with this file. The
child's half applies them, and so does a process that becomes a template.
"""

from __future__ import annotations

import os
import sys
import time

from earlyfork import _context
from earlyfork._shared import payloads
from earlyfork._shared.posix import close

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from earlyfork._shared.sockets import Fds


def env_changes(
    base: dict[bytes, bytes], wanted: dict[bytes, bytes]
) -> list[tuple[bytes, bytes | None]]:
    """What turns `base` into `wanted`: variables to set, and variables to remove (None)."""
    changes: list[tuple[bytes, bytes | None]] = [
        (name, value) for name, value in wanted.items() if base.get(name) != value
    ]
    changes += [(name, None) for name in base if name not in wanted]
    return changes


def apply_env(changes: list[tuple[bytes, bytes | None]]) -> None:
    """Do in this process what `env_changes` found."""
    for name, value in changes:
        if value is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = value
        if name == b"TZ":
            time.tzset()


def apply_path(payload: bytes) -> None:
    """Make `sys.path` what was sent."""
    sys.path[:] = [os.fsdecode(entry) for entry in payloads.unpack_path(payload)]


def null_fd() -> int:
    """An fd where a reader finds the end at once: /dev/null, or a socket without a peer."""
    try:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a chroot without /dev
        import _socket

        ours, theirs = _socket.socketpair()
        theirs.close()
        return ours.detach()


def apply_stdio(kinds: bytes, fds: Fds) -> None:
    """Set fds 0 to 2. For each of them, a letter says what becomes of it (STDIO in `payloads`)."""
    for target, kind in enumerate(kinds):
        if kind == payloads.KEEP:
            continue
        fd = fds.take() if kind == payloads.NEXT_FD else null_fd()
        os.dup2(fd, target)
        if fd != target:
            close(fd)
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
    """Open /dev/null at those of fds 0 to 2 that are closed, so that no socket ever lands there."""
    closed = [number for number, found in enumerate(_context.stdio_identity()) if found is None]
    for number in closed:
        fd = null_fd()
        if fd != number:
            os.dup2(fd, number)
            close(fd)
