"""What clients show of their calls to whoever looks from outside, if they are to be visible.

One file in memory, without a name in the file system (a memfd): made with the first such client,
sealed in size, close-on-exec, found by `python -m earlyfork top` among the program's open fds. To
open it there takes the right to look into this process, so it is for the program's own user only.
A child of the host, and a snapshot, inherit their parent's file, which says whose it is; they make
one of their own when they make a client.

Each client has a *record* of eight words, written by `Place.show`. Nothing here is read back, waits
or may fail a call: where no such file can be had, the same stores go to memory that nobody sees.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
from _struct import Struct
from posix import close
from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "earlyfork-calls-1"
#: Bytes of a record, and how many there are; bytes of a function's name, and how many there are.
RECORD, RECORDS = 64, 1024
LABEL, LABELS = 64, 4096
SIZE = RECORD * RECORDS + LABEL * LABELS

#: The words of a record: the inode of the client's socket, by which its worker is found; 0: free.
WHO = 0
#: Odd while the others are written: a reader that finds it odd, or another one afterwards, has read
#: halves of two states, and reads again.
SEQUENCE = 1
#: How many calls were sent, and how many of them have not ended.
SENT, OPEN = 2, 3
#: The call that came first of the open ones: the number of its function, and since when it was the
#: first, in nanoseconds of the monotonic clock.
FUNCTION, SINCE = 4, 5
_STATE = Struct("4q").pack_into
#: How many calls the worker runs at once.
CONCURRENCY = 6

_numbers: dict[str, int] = {}
_next = itertools.count(1)
_board: Board | None = None
_making = threading.Lock()
#: All that ever were, for none is to be finalised.
_kept: list[Board] = []


class Board:
    """The file of this process, as long as the process lives. The first record has its pid."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.free = list(range(RECORDS - 1, 0, -1))
        fd = _make()
        try:
            #: Owns an fd of its own, by which the file is found. It is never closed: the program
            #: may have closed all fds meanwhile, and the number may be another file's.
            self.memory = mmap.mmap(fd, SIZE)
        finally:
            close(fd)
        self.memory[: RECORD // 8] = self.pid.to_bytes(RECORD // 8, sys.byteorder)
        for name, number in list(_numbers.items()):
            self.label(number, name)

    def label(self, number: int, name: str) -> None:
        """Say what a number means."""
        if number < LABELS:
            text = name.encode(errors="replace")
            begin = RECORD * RECORDS + LABEL * number
            shown = text if len(text) < LABEL else b"..." + text[4 - LABEL :]
            self.memory[begin : begin + len(shown)] = shown


def _make() -> int:
    """The file, of its final size.

    Raises:
        OSError: this system has no such files, or no fd is to be had.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("no files without a name here")
    import fcntl

    fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, SIZE)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        close(fd)
        raise
    return fd


class Place:
    """One client's record, as long as this object lives. For one thread at a time."""

    def __init__(self, sock: Any, concurrency: int) -> None:
        self._board = found = board()
        memory: Any = bytearray(RECORD)
        begin = 0
        if found is not None:
            try:
                self._index = found.free.pop()
                memory, begin = found.memory, RECORD * self._index
            except IndexError:  # more clients than records
                self._board = None
        self.words: memoryview[int] = memoryview(memory)[begin : begin + RECORD].cast("q")
        self._bytes = self.words.cast("B")
        self.words[SEQUENCE] = self._sequence = 0
        self.words[CONCURRENCY] = concurrency
        self.words[WHO] = os.fstat(sock.fileno()).st_ino
        self._oldest = 0
        self._function: Any = None
        self._number = 0

    def show(self, state: Any) -> None:
        """Write down how things are now."""
        calls, words = state.calls, self.words
        for ident in calls:
            if ident != self._oldest:
                function = calls[ident].function
                if function is not self._function:
                    self._number = _number(function)
                    self._function = function
                self._oldest = ident
                words[SEQUENCE] = odd = self._sequence + 1
                _STATE(self._bytes, 8 * SENT, state.last, len(calls), self._number, monotonic_ns())
                words[SEQUENCE] = self._sequence = odd + 1
                return
            break
        words[OPEN] = len(calls)
        words[SENT] = state.last

    def __del__(self) -> None:
        board = self.__dict__.get("_board")
        if board is not None and board.pid == os.getpid() and "words" in self.__dict__:
            for word in (WHO, SENT, OPEN, FUNCTION, SINCE):
                self.words[word] = 0
            board.free.append(self._index)


class SharedPlace(Place):
    """The same for several threads, and for the handlers of signals."""

    def __init__(self, sock: Any, concurrency: int) -> None:
        super().__init__(sock, concurrency)
        self._lock = threading.RLock()

    def show(self, state: Any) -> None:
        """Write down how things are now."""
        with self._lock:
            try:
                super().show(state)
            except (
                KeyError,
                RuntimeError,
            ):  # another thread begins or ends a call: so it comes here
                return


def board() -> Board | None:
    """This process's board, if there is one to be had."""
    global _board
    with _making:
        if _board is None or _board.pid != os.getpid():  # a snapshot has its main program's
            try:
                _board = Board()
            except (OSError, ValueError):
                return None  # the next client tries again
            _kept.append(_board)
        return _board


def _number(function: Any) -> int:
    """The number of a function in this program."""
    name = function
    if not isinstance(function, str):
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        home = getattr(function, "__module__", None)
        name = f"{home}:{name}" if home else name
    found = _numbers.get(name)
    if found is None:
        found = _numbers.setdefault(name, next(_next))
        board = _board
        if board is not None and board.pid == os.getpid():
            board.label(found, name)
    return found


def _after_fork_in_child() -> None:
    global _making
    _making = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
