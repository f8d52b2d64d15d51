"""Huge pages for memory that will be forked: one entry of a page table stands for 512.

A fork copies the entries of all memory that a process has, and the end of the child takes each one
down again. MADV_COLLAPSE (Linux 6.1) moves what lies in 2 MB of small pages into one huge page.
What is written to later is split again by whoever writes, and copied in small pages as ever: so
nobody copies 2 MB at a time, and what was shared stays shared.

Without the part in C this needs ctypes, which is loaded when there is something to do.
"""

from __future__ import annotations

import os
import sys

from earlyfork._shared.posix import close
from earlyfork._shared.quick import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_COLLAPSE = 25  # MADV_COLLAPSE, from linux/mman.h, which no module of the stdlib has
_EAGAIN, _ENOMEM, _EBUSY, _ENOSYS = 11, 12, 16, 38
#: What stops the whole: no huge page is free, or the group may have no more memory. Any other error
#: is about 2 MB alone: it was given back meanwhile, say.
_STOPS = (_ENOMEM, _EBUSY)
#: How often a huge page is tried. EAGAIN comes while a child that shared it is ending.
_TRIES = 3
#: The highest byte of a page's entry in /proc/PID/pagemap: it is in memory; and in this process
#: alone.
_PRESENT, _ALONE = 0x80, 0x81
#: How many entries are read at a time.
_AT_ONCE = 1 << 13


def missing() -> str:
    """Why no memory can be put into huge pages here, in words; empty: it can."""
    try:
        _size()
        with open("/proc/self/status", "rb") as file:
            switched_off = b"\nTHP_enabled:\t0" in file.read()
        os.stat("/proc/self/pagemap")
    except (OSError, ValueError):
        return "the kernel has none, or there is no /proc"
    if switched_off:
        return "they are switched off for this process (PR_SET_THP_DISABLE)"
    error = _collapse(0, 0)  # of nothing, which asks whether the kernel knows it
    if error == _ENOSYS:
        return "neither the part in C nor ctypes is there"
    return "the kernel is older than Linux 6.1" if error else ""


def compact(interrupted: Callable[[], bool] | None = None, *, shared: bool = False) -> bool:
    """Put the private memory of this process into huge pages, 2 MB after 2 MB.

    Only what is nearly whole in memory is taken: so the process has next to no more than before.

    Args:
        interrupted: asked between two pages; true: leave the rest.
        shared: also what other processes share after a fork. These keep the old pages, so the
            memory is there twice, until they end.

    Returns:
        Whether something was left because of `interrupted`.
    """
    try:
        size = _size()
        left: Iterable[int] = _candidates(size, shared=shared)
        for _ in range(_TRIES):
            busy = []
            for address in left:
                if interrupted is not None and interrupted():
                    return True
                error = _collapse(address, size)
                if error in _STOPS:
                    return False
                if error == _EAGAIN:
                    busy.append(address)
            left = busy
    except (OSError, ValueError):  # no /proc, or not for this process: it was for speed only
        return False
    return False


def _size() -> int:
    """The size of a huge page."""
    with open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "rb") as file:
        return int(file.read())


def _candidates(size: int, *, shared: bool) -> Iterator[int]:
    """Where a huge page can take the place of small ones of which hardly any are missing."""
    page = os.sysconf("SC_PAGE_SIZE")
    whole = size // page
    enough = whole - whole // 8
    step = max(_AT_ONCE // whole, 1) * size
    highest = 7 if sys.byteorder == "little" else 0
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for begin, end in _regions(size):
            for at in range(begin, end, step):
                count = (min(at + step, end) - at) // page
                entries = os.pread(fd, count * 8, at // page * 8)[highest::8]
                for first in range(0, len(entries), whole):
                    found = entries.count(_ALONE, first, first + whole)
                    if shared:
                        found += entries.count(_PRESENT, first, first + whole)
                    if found >= enough:
                        yield at + first * page
    finally:
        close(fd)


def _regions(size: int) -> list[tuple[int, int]]:
    """What is private, writable and of no file, in whole huge pages: (begin, end)."""
    with open("/proc/self/maps", "rb") as file:
        lines = file.read().splitlines()  # at once, since what is found here is changed later
    found = []
    for line in lines:
        where, mode, _, _, inode, *name = line.split(None, 5)
        if mode == b"rw-p" and inode == b"0" and (not name or name[0].startswith(_HEAPS)):
            first, last = (int(address, 16) for address in where.split(b"-"))
            begin, end = -(-first // size) * size, last // size * size
            if begin < end:
                found.append((begin, end))
    return found


#: How memory is called that has a name and is no stack, nor the kernel's.
_HEAPS = (b"[heap]", b"[anon")


def _find_collapse() -> Callable[[int, int], int]:
    if quick is not None:
        in_c: Callable[[int, int], int] = quick.collapse
        return in_c
    libc: Any = None

    def collapse(address: int, size: int) -> int:
        nonlocal libc
        try:
            import ctypes

            libc = libc or ctypes.CDLL(None, use_errno=True)
            numbers = (ctypes.c_void_p(address), ctypes.c_size_t(size), _COLLAPSE)
            return ctypes.get_errno() if libc.madvise(*numbers) else 0
        except (ImportError, OSError, AttributeError):
            return _ENOSYS

    return collapse


#: _collapse(address, size): 0, or the errno.
_collapse = _find_collapse()
