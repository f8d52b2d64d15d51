"""What a worker of the multiprocessing start method must take over from its caller, besides data.

Umask, limits, niceness and the like: a child that is executed inherits them from the process that
starts it, and one that is forked from a template inherits the template's. So the caller notes its
own with each start, and the worker sets those in which its template differs.
"""

from __future__ import annotations

import _signal
import marshal
import os
import threading
import time
from posix import close

try:
    import resource
except ImportError:  # pragma: no cover - not on every platform
    LIMITS: tuple[int, ...] = ()
else:
    LIMITS = tuple(
        sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
    )

#: All signals but four: an interpreter ignores two of its own accord, and two can't be ignored.
IGNORABLE = tuple(
    sorted(
        set(_signal.valid_signals())
        - {_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGPIPE}
        - {getattr(_signal, "SIGXFSZ", _signal.SIGPIPE)}
    )
)
HAS_AFFINITY = hasattr(os, "sched_getaffinity")
HAS_SCHEDULING = hasattr(os, "SCHED_RESET_ON_FORK")
HAS_PRIORITY = hasattr(os, "getpriority")


def look() -> bytes:
    """What the kernel hands on from this process to an executed child, in bytes.

    Of what each thread has of its own, that of the calling thread. Equal bytes mean that all is
    equal.
    """
    affinity = os.sched_getaffinity(0) if HAS_AFFINITY else set()
    return marshal.dumps(
        (
            _umask(),
            os.getpriority(os.PRIO_PROCESS, 0) if HAS_PRIORITY else 0,
            tuple(map(resource.getrlimit, LIMITS)) if LIMITS else (),
            sorted(affinity),
            _scheduling() if HAS_SCHEDULING else (0, 0),
        ),
        _BY_VALUE,
    )


#: The version of marshal that knows no references: what it writes depends on nothing but values.
_BY_VALUE = 2


def signals() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The signals that this process ignores, and those that the calling thread blocks.

    A template that earlyfork made ignores none, and its workers block none.
    """
    handlers = tuple(map(_signal.getsignal, IGNORABLE))
    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    if not blocked and _signal.SIG_IGN not in handlers:
        return (), ()
    ignored = zip(IGNORABLE, handlers, strict=True)
    return (
        tuple(int(number) for number, handler in ignored if handler == _signal.SIG_IGN),
        tuple(map(int, blocked)),
    )


def _scheduling() -> tuple[int, int]:
    """The scheduling policy (SCHED_BATCH ...) that a child has, and a real-time one's priority."""
    policy = os.sched_getscheduler(0)
    if policy & os.SCHED_RESET_ON_FORK:
        policy &= ~os.SCHED_RESET_ON_FORK
        policy = 0 if policy in (os.SCHED_FIFO, os.SCHED_RR) else policy
    return policy, os.sched_getparam(0).sched_priority if policy else 0


def _umask() -> int:
    """The file creation mask. Without /proc, the one way to ask is to set it for a moment."""
    if threading.active_count() > 1:  # another thread may create a file right then, or set the mask
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


def apply(wanted: bytes, found: bytes) -> None:
    """Set what differs between two results of `look`: what is wanted, and what this process has.

    What the kernel refuses stays as it is: a hard limit that was lowered, or a niceness that was
    raised, can't be taken back, and the caller could not do so either.
    """
    if wanted == found:
        return
    umask, nice, limits, affinity, policy = marshal.loads(wanted)
    had_umask, had_nice, had_limits, had_affinity, had_policy = marshal.loads(found)
    if umask != had_umask:
        os.umask(umask)
    for number, limit, had in zip(LIMITS, limits, had_limits, strict=True):
        if limit != had:
            _try(resource.setrlimit, number, limit)
    if nice != had_nice:
        _try(os.setpriority, os.PRIO_PROCESS, 0, nice)
    if affinity != had_affinity:
        _try(os.sched_setaffinity, 0, affinity)
    if policy != had_policy:
        _try(os.sched_setscheduler, 0, policy[0], os.sched_param(policy[1]))


def apply_signals(ignored: tuple[int, ...], blocked: tuple[int, ...]) -> None:
    """Ignore and block what the caller does."""
    for number in ignored:
        _signal.signal(number, _signal.SIG_IGN)
    if blocked:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


def _try(function: object, *args: object) -> None:
    try:
        function(*args)  # type: ignore[operator]
    except (OSError, ValueError):
        return


# -- the environment and the standard streams, of which only differences travel -------------------


def environment() -> dict[bytes, bytes]:
    """A copy of the environment."""
    return dict(getattr(os.environ, "_data", None) or os.environb)


def environment_changes(base: dict[bytes, bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The variables that differ from `base`, and the names of those that are in `base` only."""
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
    if b"TZ" in changed or b"TZ" in removed:
        time.tzset()


#: What file each of fds 0, 1, 2 is; None for a closed one.
Streams = tuple[tuple[int, int, int] | None, ...]


def streams() -> Streams:
    """What file each of fds 0, 1, 2 is; None for a closed one."""
    return _identity(0), _identity(1), _identity(2)


def _identity(fd: int) -> tuple[int, int, int] | None:
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_rdev


def apply_streams(fds: dict[int, int]) -> None:
    """Put each fd in the place of a standard stream, given by number; -1 means /dev/null."""
    for target, source in fds.items():
        fd = os.open(os.devnull, os.O_RDWR) if source < 0 else source
        if fd != target:
            os.dup2(fd, target)
            close(fd)
