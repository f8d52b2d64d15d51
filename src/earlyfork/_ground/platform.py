"""What this system can do, asked by capability: fork, pidfds, threads.

Tested on Linux. For what macOS and the BSDs lack the answer is False, -1 or an empty list, and the
caller does without.
"""

from __future__ import annotations

import _signal
import _thread
import os
import sys
from posix import close, kill

from earlyfork._ground import stack

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable

#: Whether processes can be forked at all.
can_fork = hasattr(os, "fork")
can_send_fds = can_fork
#: Whether a socket can be told to have the kernel kill a process when its other end is closed.
has_deadly_sockets = sys.platform == "linux"
#: Why there can't be a part in C; empty where there can. setup.py asks the same.
lacks_c = ""
if sys.implementation.name != "cpython":
    lacks_c = f"there is none for {sys.implementation.name}"
elif sys.platform != "linux":
    lacks_c = "it is for Linux"
elif "t" in sys.abiflags:
    lacks_c = "there is none for free-threaded interpreters"
#: Whether the limits and CPUs of another process can be asked for.
tells_limits = sys.platform == "linux"
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


def umask() -> int:
    """The file creation mask. Without /proc, the one way to ask is to set it for a moment."""
    if _thread._count():  # another thread may create a file right then, or set the mask
        try:
            with open("/proc/self/status", "rb") as file:
                for line in file:
                    if line.startswith(b"Umask:"):
                        return int(line[6:], 8)
        except OSError as error:  # no /proc
            stack.pass_on(error)
    now = os.umask(0o077)  # a native thread's file would be more private than meant, not less
    os.umask(now)
    return now


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
        except OSError as error:  # a kernel or sandbox without the call
            stack.pass_on(error)
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


def pidfd_open() -> Callable[[int], int] | None:
    """What opens a pidfd, or None where nothing does."""
    return os.pidfd_open if has_pidfd else None


def is_ending(pid: int) -> bool:
    """Whether a process is on its way out already; False where that can't be seen."""
    fields = stat_of(pid)
    return fields is not None and bool(int(fields[6]) & _PF_EXITING)


def parent_and_start(pid: int) -> tuple[int, float] | None:
    """The parent of a process, and its start in seconds since the boot; None if unknown."""
    fields = stat_of(pid)
    if fields is None:
        return None
    return int(fields[1]), int(fields[19]) / os.sysconf("SC_CLK_TCK")


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is a child of another one, or of one of its children, and so on."""
    while pid > 1 and ancestor > 1 and ancestor != os.getpid():  # which forks for nobody
        found = parent_and_start(pid)
        if found is None:
            return False
        pid = found[0]
        if pid == ancestor:
            return True
    return False


#: Of the kernel's include/linux/sched.h; the same since 2.6.
_PF_EXITING = 4


def stat_of(pid: int) -> list[bytes] | None:
    """What /proc says of a process, from its state on."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError as error:  # gone, or no /proc
        stack.pass_on(error)
        return None
