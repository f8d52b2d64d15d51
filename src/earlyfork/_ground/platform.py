"""What this system can do, asked by capability: fork, pidfds, threads.

Tested on Linux. For what macOS and the BSDs lack the answer is False, -1 or an empty list, and the
caller does without.
"""

from __future__ import annotations

import _signal
import os
import sys
from posix import close, kill

from earlyfork._ground.fds import above_streams

#: Whether processes can be forked at all.
can_fork = hasattr(os, "fork")
can_send_fds = can_fork
#: Whether a socket can be told to have the kernel kill a process when its other end is closed.
has_deadly_sockets = sys.platform == "linux"
has_pidfd = hasattr(os, "pidfd_open") and hasattr(_signal, "pidfd_send_signal")


def thread_names() -> list[str]:
    """The names of all threads but the first: Python's own, and native ones as `native (comm)`."""
    named = {}
    if "threading" in sys.modules:
        import threading

        main = threading.main_thread()
        named = {
            thread.native_id: thread.name for thread in threading.enumerate() if thread is not main
        }
    found = list(named.values())
    try:
        ids = os.listdir("/proc/self/task")
    except OSError:
        return found
    for number in ids:
        if int(number) == os.getpid() or int(number) in named:
            continue
        try:
            with open(f"/proc/self/task/{number}/comm") as file:
                found.append(f"native ({file.read().strip()})")
        except OSError:  # ended meanwhile
            continue
    return found


def python_threads() -> list[str]:
    """The names of Python threads other than the first; `_thread` ones have only a number."""
    import _thread

    names = [name for name in thread_names() if not name.startswith("native (")]
    unnamed = _thread._count() - len(names)
    return names + ["an unnamed thread of _thread"] * max(0, unnamed)


def send_signal(pid: int, number: int, is_same: object) -> bool:
    """Signal the process `pid`, unless it is gone; whether that was done.

    A pidfd pins the process that has the number now. After that, `is_same()` says whether this is
    still the process that is meant. Without pidfds (macOS, old kernels) the pid could in theory be
    given away between the question and the signal: within microseconds all other pids would have to
    be used up.
    """
    assert callable(is_same)
    pidfd = -1
    if has_pidfd:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except OSError:  # a kernel or sandbox without the call
            pidfd = -1
    try:
        if not is_same():
            return False
        if pidfd >= 0:
            _signal.pidfd_send_signal(pidfd, number)
        else:
            kill(pid, number)
    except ProcessLookupError:
        return False
    finally:
        if pidfd >= 0:
            close(pidfd)
    return True


def pidfd(pid: int) -> int:
    """A pidfd of a process, or -1 where none can be had."""
    try:
        return above_streams(os.pidfd_open(pid)) if has_pidfd else -1
    except OSError:
        return -1
