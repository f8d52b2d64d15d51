"""The calls that a program's clients show (`earlyfork.rpc._board`), read from outside."""

from __future__ import annotations

import os
import struct
import sys
from posix import close
from typing import NamedTuple

from earlyfork.rpc import _board
from earlyfork.top import _proc

#: How often a record is read until it is found at rest.
TRIES = 100


class Calls(NamedTuple):
    """What one client shows.

    Attributes:
        inode: of the client's socket.
        sent: how many calls were sent, those without an answer included.
        open: how many of them have not ended.
        concurrency: how many its worker runs at once.
        runs: the function of the oldest open call; empty if none is open, or it can't be told.
        seconds: since when that call is the oldest; None if none is open.
    """

    inode: int
    sent: int
    open: int
    concurrency: int
    runs: str
    seconds: float | None


def boards(pid: int, links: dict[int, str]) -> list[str]:
    """The files among a process's open ones that may be such a board."""
    name = f"/memfd:{_board.NAME} (deleted)"
    return [f"{_proc.PROC}/{pid}/fd/{fd}" for fd, link in links.items() if link == name]


def of(pid: int, links: dict[int, str], now: float) -> list[Calls]:
    """What all visible clients of a process show. What can't be read counts as nothing.

    Args:
        pid: of the process.
        links: its open files.
        now: what counts as now, on the monotonic clock.
    """
    found: list[Calls] = []
    for path in boards(pid, links):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # gone meanwhile
            continue
        try:
            # By `pread` and not mapped: the file may be anybody's, and become shorter.
            if int.from_bytes(os.pread(fd, 8, 0), sys.byteorder) == pid:
                found += _records(fd, now)
        finally:
            close(fd)
    return found


def _records(fd: int, now: float) -> list[Calls]:
    found = []
    size = _board.RECORD
    table = os.pread(fd, size * _board.RECORDS, 0)
    for at in range(size, len(table) - size + 1, size):
        if any(table[at : at + 8]):
            words = _at_rest(fd, at)
            if words is not None and words[_board.WHO]:
                found.append(_one(fd, words, now))
    return found


def _at_rest(fd: int, at: int) -> tuple[int, ...] | None:
    """One record, as it was at one moment; None if it never is at rest."""
    for _ in range(TRIES):
        first, second = os.pread(fd, _board.RECORD, at), os.pread(fd, _board.RECORD, at)
        if first == second and len(first) == _board.RECORD:
            words = struct.unpack("8q", first)
            if words[_board.SEQUENCE] % 2 == 0:
                return words
    return None


def _one(fd: int, words: tuple[int, ...], now: float) -> Calls:
    runs, seconds = "", None
    if words[_board.OPEN] > 0:
        seconds = max(0.0, now - words[_board.SINCE] / 1e9)
        number = words[_board.FUNCTION]
        if 0 < number < _board.LABELS:
            begin = _board.RECORD * _board.RECORDS + _board.LABEL * number
            runs = _proc.plain(os.pread(fd, _board.LABEL, begin).rstrip(b"\0"))
    return Calls(
        words[_board.WHO],
        words[_board.SENT],
        max(0, words[_board.OPEN]),
        max(1, words[_board.CONCURRENCY]),
        runs,
        seconds,
    )
