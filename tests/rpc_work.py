"""Functions that the tests of rpc and aio call in workers."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from earlyfork.rpc import current, event, flush, retire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NOTES: list[Any] = []


def echo(value: Any) -> Any:
    return value


def args_of(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def note(value: Any) -> None:
    NOTES.append(value)


def notes() -> list[Any]:
    return NOTES


def init(*args: Any) -> None:
    NOTES.extend(args)
    event("init", *args)


def failing_init() -> None:
    raise LookupError("no table")


async def double(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2


async def wait_for_ever() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        note("task ended")


def events(count: int) -> int:
    for number in range(count):
        event(number)
    return count


def event_and_die() -> None:
    event("last", "words")
    flush()
    os._exit(7)


class OddInitError(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("no pickle of this")


class Poisoned:
    """Pickled here, it raises where it is unpickled."""

    def __reduce__(self) -> Any:
        return _poison, ()


def _poison() -> None:
    raise ArithmeticError("poison")


class Blob:
    """As numpy's arrays are pickled."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def reversed(self) -> Blob:
        return Blob(self.data[::-1])

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return Blob, (pickle.PickleBuffer(self.data),)


def unpicklable() -> Unpicklable:
    return Unpicklable()


def poisoned() -> Poisoned:
    return Poisoned()


def fails(kind: str) -> None:
    if kind == "odd":
        raise OddInitError(1, 2)
    if kind == "local":

        class LocalError(Exception):
            pass

        raise LocalError("here only")
    if kind == "notes":
        error = ValueError("noted")
        error.__notes__ = ["first", "second"]  # type: ignore[attr-defined]
        raise error
    if kind == "cause":
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    if kind == "exit":
        sys.exit(3)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "unpicklable":
        raise ValueError(Unpicklable())
    raise ValueError(kind)


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def leave() -> str:
    retire()
    return "bye"


def about() -> tuple[int, float | None]:
    found = current()
    assert found is not None
    return found.id, None if found.deadline is None else found.deadline - time.monotonic()


def told(path: str) -> None:
    """Say by a file that this runs."""
    with open(path, "w") as file:
        file.write(str(os.getpid()))


def spin(path: str = "") -> None:
    if path:
        told(path)
    while True:
        pass


def block(path: str) -> None:
    """Run in C, where no signal is looked at by Python."""
    told(path)
    sum(range(10**12))


def stubborn(path: str) -> None:
    """Ignores that it is cancelled."""
    while True:
        try:
            told(path)
            while True:
                pass
        except BaseException:  # noqa: S112
            continue


def tidies_up(path: str, until: str) -> str:
    """When it is cancelled, it takes its time in `finally`."""
    try:
        told(path)
        while True:
            pass
    finally:
        while not os.path.exists(until):
            pass
        note("tidied up")


def count(number: int) -> Iterator[int]:
    try:
        yield from range(number)
    finally:
        note("closed")


async def count_async(number: int) -> AsyncIterator[int]:
    try:
        for value in range(number):
            yield value
    finally:
        note("closed")


def count_and_note() -> Iterator[int]:
    for number in range(10**9):
        note(number)
        yield number


def breaks_off(how: str) -> Iterator[int]:
    yield 1
    yield 2
    if how == "raise":
        raise ValueError("no third")
    os._exit(3)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def read_all(*files: Any) -> list[Any]:
    return [file.read() for file in files]


def send_on(sock: Any, data: bytes) -> None:
    with sock:
        sock.sendall(data)


def close_all(files: list[Any]) -> int:
    for file in files:
        file.close()
    return len(files)


def make_files(number: int) -> list[Any]:
    return [open(os.devnull) for _ in range(number)]


def limit_fds(number: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def disturbs() -> str:
    """What functions do that a worker must survive."""
    print("printed", flush=True)
    os.chdir("/")
    for fd in (0, 1, 2):
        os.close(fd)
    return os.getcwd()


def forks() -> int:
    pid = os.fork()
    if pid == 0:
        return 0  # out into the worker's own code
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def thread_name() -> str:
    return threading.current_thread().name


def meet() -> int:
    """Returns only when two calls run at once."""
    global _met
    with _lock:
        _met += 1
    while _met % 2:
        time.sleep(0)
    return _met


_met = 0
_lock = threading.Lock()


class Api:
    """A target."""

    def add(self, a: int, b: int) -> int:
        return a + b

    def _private(self) -> int:
        return 1

    number = 3


api = Api()


def send_on_eof(sock: Any) -> None:
    """Wait for the end of the stream."""
    while sock.recv(4096):
        continue


def shout(sock: Any) -> None:
    while data := sock.recv(65536):
        sock.sendall(data.upper())


def spin_with_socket(_sock: Any) -> None:
    spin()


def says(text: str) -> None:
    """Write it to stderr, as C does."""
    data = memoryview(text.encode())
    while data:
        data = data[os.write(2, data) :]


def says_and_aborts(text: str) -> None:
    says(text)
    os.abort()


def forks_a_sleeper() -> int:
    """Fork a child that keeps what it has inherited."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid
