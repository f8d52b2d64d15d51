"""Streams in a worker that runs one call at a time."""

from __future__ import annotations

from earlyfork.rpc import _wire as wire
from earlyfork.rpc._values import dump

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any


class Stream:
    """A generator that runs in this worker."""

    def __init__(self, worker: Any, ident: int, source: Any) -> None:
        self.worker = worker
        self.ident = ident
        self.credit = int(worker.limits.pop(-ident, 0))
        self.cancelled = False
        if hasattr(source, "__anext__"):
            self.next = self.next_async
            self.source = source
        else:
            self.source = iter(source)
            self.next = lambda: next(self.source)

    def next_async(self) -> Any:
        return self.worker.wait_for(self._anext())

    async def _anext(self) -> Any:
        return await self.source.__anext__()

    def step(self) -> None:
        """Send one item, or end."""
        worker = self.worker
        if self.ident not in worker.streams:  # it has ended meanwhile
            return
        try:
            try:
                worker.running = self.ident
                if worker.look:
                    worker.on_signal(0, None)
                if self.cancelled:
                    self.close()
                    item: Any = None
                else:
                    item = self.next()
            finally:
                worker.running = 0
            if self.cancelled:
                self.end(wire.CANCELLED, b"")
                return
            body, buffers, fds = dump(item)
            worker.counted += 1
            self.credit -= 1
            worker.send(wire.ITEM, self.ident, worker.counted & 0xFFFFFFFF, body, buffers, fds)
        except (StopIteration, StopAsyncIteration):
            self.end(wire.RESULT, dump(None)[0])
        except BaseException as error:
            worker.running = 0
            worker.cancelled.discard(self.ident)
            if worker.sock is None:
                raise
            worker.streams.pop(self.ident, None)
            try:
                self.close()
            except BaseException as inner:
                worker.fail(wire.STREAM, self.ident, inner)
                return
            worker.fail(wire.STREAM, self.ident, error)

    def close(self) -> None:
        """Have the generator run its `finally`."""
        if hasattr(self.source, "aclose"):
            self.worker.wait_for(self.source.aclose())
        elif hasattr(self.source, "close"):
            self.source.close()

    def end(self, kind: int, body: bytes) -> None:
        self.worker.streams.pop(self.ident, None)
        self.worker.send(kind, self.ident, 0, body)
