"""What a worker of the multiprocessing start method must take over from its caller, besides data.

An exec'd child inherits these from the process that starts it; one that is forked from a template
inherits the template's. So the caller notes its own with each start, and the worker sets those in
which its template differs.
"""

from __future__ import annotations

import _signal
import os
import threading
from typing import NamedTuple

try:
    import resource
except ImportError:  # pragma: no cover - not on every platform
    LIMITS: tuple[int, ...] = ()
else:
    LIMITS = tuple(
        sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
    )

#: An interpreter ignores two signals of its own accord, and two can't be ignored.
IGNORABLE = tuple(
    sorted(
        set(_signal.valid_signals())
        - {_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGPIPE}
        - {getattr(_signal, "SIGXFSZ", _signal.SIGPIPE)}
    )
)
HAS_AFFINITY = hasattr(os, "sched_getaffinity")
HAS_PRIORITY = hasattr(os, "getpriority")


class Around(NamedTuple):
    """A process's surroundings at one moment: what the kernel hands to an exec'd child."""

    umask: int
    nice: int
    limits: tuple[tuple[int, int], ...]
    affinity: frozenset[int]
    ignored: tuple[int, ...]
    blocked: frozenset[int]


def look() -> Around:
    """This process's surroundings; of what belongs to a thread, the calling thread's."""
    getsignal, ignore = _signal.getsignal, _signal.SIG_IGN
    return Around(
        _umask(),
        os.getpriority(os.PRIO_PROCESS, 0) if HAS_PRIORITY else 0,
        tuple(map(resource.getrlimit, LIMITS)) if LIMITS else (),
        frozenset(os.sched_getaffinity(0)) if HAS_AFFINITY else frozenset(),
        tuple(number for number in IGNORABLE if getsignal(number) == ignore),
        frozenset(map(int, _signal.pthread_sigmask(_signal.SIG_BLOCK, ()))),
    )


def _umask() -> int:
    """The file creation mask, which can't be asked for without being set for a moment."""
    if threading.active_count() > 1:  # another thread may create a file, or set it, right then
        try:
            with open("/proc/self/status", "rb") as file:
                for line in file:
                    if line.startswith(b"Umask:"):
                        return int(line[6:], 8)
        except OSError:  # no /proc
            pass
    now = os.umask(0o077)  # a native thread's file would be more private than meant, not less
    os.umask(now)
    return now


def apply(wanted: Around, found: Around) -> None:
    """Make this process's surroundings the wanted ones; `found` are those that it has.

    What the kernel refuses stays: a hard limit or a niceness that was lowered can't come back, for
    the caller neither.
    """
    if wanted.umask != found.umask:
        os.umask(wanted.umask)
    if wanted.limits != found.limits:
        pairs = zip(LIMITS, wanted.limits, found.limits, strict=True)
        for number, limit, had in pairs:
            if limit != had:
                _try(resource.setrlimit, number, limit)
    if wanted.nice != found.nice:
        _try(os.setpriority, os.PRIO_PROCESS, 0, wanted.nice)
    if wanted.affinity != found.affinity:
        _try(os.sched_setaffinity, 0, wanted.affinity)
    for number in wanted.ignored:
        _signal.signal(number, _signal.SIG_IGN)
    if wanted.blocked:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, wanted.blocked)


def _try(function: object, *args: object) -> None:
    try:
        function(*args)  # type: ignore[operator]
    except (OSError, ValueError):
        return


# -- the environment and the standard streams, of which only differences travel -------------------


def environment() -> dict[bytes, bytes]:
    """The environment, as a dict of its own."""
    return dict(getattr(os.environ, "_data", None) or os.environb)


def environment_changes(base: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """What is set here and differs from `base`, and what was removed."""
    now = getattr(os.environ, "_data", None) or dict(os.environb)
    if now == base:
        return {}, []
    changed = {name: value for name, value in now.items() if base.get(name) != value}
    return changed, [name for name in base if name not in now]


def apply_environment(changed: dict[bytes, bytes], removed: list[bytes]) -> None:
    """Do what `environment_changes` found."""
    for name in removed:
        os.environb.pop(name, None)
    os.environb.update(changed)


def streams() -> tuple[tuple[int, int, int] | None, ...]:
    """What file each of fds 0, 1, 2 is; None for a closed one."""
    return _identity(0), _identity(1), _identity(2)


def _identity(fd: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def apply_streams(fds: dict[int, int]) -> None:
    """Put each fd in the place of a standard one; minus one is /dev/null."""
    for target, source in fds.items():
        fd = os.open(os.devnull, os.O_RDWR) if source < 0 else source
        if fd != target:
            os.dup2(fd, target)
            os.close(fd)
