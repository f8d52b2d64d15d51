"""What the system grants this process: CPUs, memory, and what it took away."""

from __future__ import annotations

import math
import os


def available_cpus(root: str = "/") -> int:
    """How many CPUs this process may use: by its affinity, and by the quota of its cgroups."""
    try:
        found = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        found = os.cpu_count() or 1
    for folder in cgroups("cpu", root):
        quota = _quota(folder)
        if quota is not None:
            found = min(found, max(1, math.ceil(quota)))
    return found


def cgroups(controller: str, root: str = "/") -> list[str]:
    """The folders of this process's cgroup and of those above it, the innermost first."""
    found = []
    for line in (_read(os.path.join(root, "proc/self/cgroup")) or "").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        top = os.path.join(root, "sys/fs/cgroup", names and controller)
        parts = [part for part in path.split("/") if part]
        # In a container its own cgroup may be seen as the top one.
        found += [os.path.join(top, *parts[:length]) for length in range(len(parts), -1, -1)]
    return found


def _quota(folder: str) -> float | None:
    """How many CPUs' time a cgroup may take; None if there is no limit."""
    try:
        text = _read(os.path.join(folder, "cpu.max"))
        if text is not None:
            quota, period = text.split()
        else:
            quota = _read(os.path.join(folder, "cpu.cfs_quota_us")) or "-1"
            period = _read(os.path.join(folder, "cpu.cfs_period_us")) or "100000"
        return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
    except ValueError:
        return None


def out_of_memory_kills(root: str = "/") -> int | None:
    """How often the kernel has killed in this cgroup for want of memory, if it says so."""
    for folder in cgroups("memory", root):
        for name in ("memory.events", "memory.oom_control"):
            for line in (_read(os.path.join(folder, name)) or "").splitlines():
                key, _, number = line.partition(" ")
                if key == "oom_kill":
                    return int(number)
    return None


def resident(pid: int) -> int | None:
    """How many bytes of memory a process has, if the system says so."""
    text = _read(f"/proc/{pid}/statm")
    return None if text is None else int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return None
