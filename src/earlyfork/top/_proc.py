"""What /proc says of a process. Nothing here knows what it is for.

Processes end while they are looked at, and others may not be looked at: `None` stands for what is
not to be had, and `Denied` counts for whom that was so.
"""

from __future__ import annotations

import os
from typing import NamedTuple

PROC = "/proc"


class Stat(NamedTuple):
    """One process, in what everybody may know of it."""

    pid: int
    parent: int
    #: In the words of `ps`: R, S, D, T, Z.
    state: str
    name: str
    #: Seconds since the boot.
    started: float
    #: Seconds of all CPUs.
    busy: float
    uid: int


class Memory(NamedTuple):
    """Bytes of memory: of this process alone, shared with others, and its fair share of all."""

    private: int
    shared: int
    pss: int


def read(pid: int, name: str) -> bytes | None:
    """One file of a process; None if it is gone, or the file is not for us."""
    try:
        with open(f"{PROC}/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:  # gone meanwhile, or somebody else's
        return None


def stat(pid: int) -> Stat | None:
    """One process; None if there is none."""
    found = read(pid, "stat")
    if not found:
        return None
    head, _, tail = found.rpartition(b")")
    words = tail.split()
    tick = os.sysconf("SC_CLK_TCK")
    try:
        uid = os.stat(f"{PROC}/{pid}").st_uid
    except OSError:  # gone meanwhile
        return None
    return Stat(
        pid,
        int(words[1]),
        words[0].decode(),
        plain(head.partition(b"(")[2]),
        int(words[19]) / tick,
        (int(words[11]) + int(words[12])) / tick,
        uid,
    )


def all_stats() -> dict[int, Stat]:
    """All processes that can be seen."""
    found = (stat(int(name)) for name in os.listdir(PROC) if name.isdecimal())
    return {one.pid: one for one in found if one is not None}


def command_line(pid: int) -> str:
    """How it was started; empty if that is not to be had."""
    return plain((read(pid, "cmdline") or b"").replace(b"\0", b" ")).strip()


def memory(pid: int) -> Memory | None:
    """Its memory; None if that is not for us."""
    found = read(pid, "smaps_rollup")
    if not found:
        return None
    sizes: dict[bytes, int] = {}
    for line in found.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == b"kB":
            sizes[words[0]] = int(words[1]) * 1024
    get = sizes.get
    return Memory(
        get(b"Private_Clean:", 0) + get(b"Private_Dirty:", 0),
        get(b"Shared_Clean:", 0) + get(b"Shared_Dirty:", 0),
        get(b"Pss:", 0),
    )


def links(pid: int) -> dict[int, str] | None:
    """Its open files by their fds; None if they are not for us, or it is gone."""
    folder = f"{PROC}/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:  # gone meanwhile, or somebody else's
        return None
    found = {}
    for name in names:
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except OSError:  # closed meanwhile
            continue
    return found


def now() -> float:
    """Seconds since the boot, as `Stat.started` counts them."""
    with open(f"{PROC}/uptime", "rb") as file:
        return float(file.read().split()[0])


def plain(text: bytes) -> str:
    """Text of another process, with nothing in it that a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text.decode(errors="replace"))
