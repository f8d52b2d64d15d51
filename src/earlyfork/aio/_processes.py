"""Processes, awaited: their ends, their sockets, and groups of them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from earlyfork import ProcessStateError
from earlyfork.aio._loops import loop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType
    from typing import Concatenate, TypeAlias

    from earlyfork import Process

    #: What `Process.run` takes.
    Runnable: TypeAlias = str | Callable[Concatenate[socket.socket, ...], object]

#: Seconds that a process is given to end by itself, and after SIGTERM.
GRACE = 0.5


async def wait(process: Process, *, check: bool = False) -> int:
    """Wait until a process is gone; its exit status, or minus the signal's number.

    Several tasks may wait for one process. A task that is cancelled leaves the process alone.

    Args:
        process: the process.
        check: raise `process.error` instead of returning a status that is not 0.

    Raises:
        ProcessLost, TemplateDied, RemoteError, ProcessStateError: as `Process.wait` does.
    """
    kind = loop()
    while process.poll() is None:
        # Not for ever: a sentinel tells nothing any more when its process is closed meanwhile.
        await kind.within(1.0, lambda: kind.readable(process.sentinel))
    # Its last word is there already, or will be at once.
    return process.wait(1.0, check=check)


async def ready(process: Process) -> Process:
    """Wait until all that was sent to a process so far has been done there.

    Raises:
        RemoteError, TemplateDied, ProcessLost, ProcessStateError: as `Process.ready` does.
    """
    kind = loop()
    readiness = process.when_ready()
    while not readiness.done():
        # Not for ever: whoever else looks at the process may take in what has come.
        await kind.within(0.1, lambda: kind.readable(readiness.fileno()))
    return process


class EndOfStream(Exception):  # noqa: N818 - as anyio's
    """Nothing more will come: the other side has ended its stream."""


def _end_of_stream() -> Exception:
    anyio = sys.modules.get("anyio")
    return EndOfStream() if anyio is None else anyio.EndOfStream()


class SocketStream:
    """The socket to a process, with the methods of anyio's ByteStream."""

    def __init__(self, sock: Any) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._loop = loop()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Some bytes, at least one.

        Raises:
            EndOfStream: nothing more will come (anyio's own, where anyio is loaded).
            ProcessStateError: the stream is closed.
        """
        while True:
            self._check()
            try:
                data: bytes = self.socket.recv(max_bytes)
            except BlockingIOError:
                await self._loop.readable(self.socket.fileno())
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                raise _end_of_stream()
            return data

    async def send(self, item: bytes) -> None:
        """Send all of it."""
        view = memoryview(item)
        while view:
            self._check()
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                await self._loop.writable(self.socket.fileno())

    async def send_eof(self) -> None:
        """Send nothing more; the other side sees the end."""
        import socket

        self.socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the socket. Tasks that wait to receive or to send are told."""
        if self.socket.fileno() >= 0:
            import socket

            # They wait at duplicates, which closing alone would not wake.
            self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def _check(self) -> None:
        if self.socket.fileno() < 0:
            raise ProcessStateError("this stream is closed")

    def __aiter__(self) -> SocketStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except Exception as error:
            if type(error).__name__ == "EndOfStream":
                raise StopAsyncIteration from None
            raise


async def end(process: Process) -> None:
    """End a process: some time to end by itself, SIGTERM, SIGKILL."""
    kind = loop()

    async def gone() -> None:
        await wait(process)

    if await kind.within(GRACE, gone):
        return
    process.terminate()
    if not await kind.within(GRACE, gone):
        process.kill()
        await gone()


class Run:
    """A process that runs during an `async with` block: `run` makes it."""

    def __init__(self, process: Process, function: Runnable) -> None:
        self._process = process
        self._function = function

    async def __aenter__(self) -> SocketStream:
        self._stream = SocketStream(self._process.run(self._function, linked=True))
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
        await loop().shielded(lambda: end(self._process))


def run(process: Process, function: Runnable) -> Run:
    """Run a function in a process for the time of an `async with` block.

    The block gets the stream to it. At its end, whatever that is, the stream is closed; the process
    has half a second to end by itself, then SIGTERM, and half a second later SIGKILL. That is
    waited for even if the task is cancelled.
    """
    return Run(process, function)


class Group:
    """Processes that end together: `group` makes it."""

    def __init__(self) -> None:
        self._loop = loop()
        self._processes: list[Process] = []
        self._failure: BaseException | None = None
        self._tasks: set[Any] = set()
        self._cancels = False
        self._inside = False

    def start(self, process: Process, function: Runnable) -> SocketStream:
        """Run a function in a process, linked to this one; the stream to it."""
        stream = SocketStream(process.run(function, linked=True))
        self._processes.append(process)
        if self._loop.name == "asyncio":
            self._tasks.add(asyncio.get_running_loop().create_task(self._watch(process)))
        else:
            self._nursery.start_soon(self._watch, process)
        return stream

    async def _watch(self, process: Process) -> None:
        try:
            await wait(process, check=True)
        except Exception as error:
            if self._failure is None:
                self._failure = error
                if self._loop.name == "trio":
                    self._nursery.cancel_scope.cancel()
                    return
                for task in self._tasks:
                    if task is not asyncio.current_task():
                        task.cancel()
                if self._inside:
                    self._cancels = True
                    self._parent.cancel()

    async def __aenter__(self) -> Group:  # noqa: PYI034 - typing has Self from 3.11 on
        self._inside = True
        if self._loop.name == "asyncio":
            self._parent: Any = asyncio.current_task()
        else:
            self._manager: Any = self._loop.trio.open_nursery()
            self._nursery: Any = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._inside = False
        if self._loop.name == "trio":
            try:
                swallowed = await self._manager.__aexit__(kind, error, traceback)
            except BaseException:
                await self._loop.shielded(self._end_all)
                if self._failure is not None and not isinstance(error, Exception):
                    raise self._failure from None
                raise
            await self._loop.shielded(self._end_all)
            if self._failure is not None:
                raise self._failure
            return bool(swallowed)
        return await self._leave_asyncio(error)

    async def _leave_asyncio(self, error: BaseException | None) -> bool:
        if error is not None:
            for task in self._tasks:
                task.cancel()
        try:
            while left := {task for task in self._tasks if not task.done()}:
                await asyncio.wait(left)
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            await self._loop.shielded(self._end_all)
            raise
        await self._loop.shielded(self._end_all)
        ours = self._cancels and isinstance(error, asyncio.CancelledError)
        if self._failure is not None and (error is None or ours):
            if ours and hasattr(self._parent, "uncancel"):
                self._parent.uncancel()
            raise self._failure
        return False

    async def _end_all(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            await end(process)


def group() -> Group:
    """A group of processes for the time of an `async with` block.

    The block waits for all of them. The first that fails ends the others and the block, which then
    raises its error. None of them outlives the block.
    """
    return Group()
