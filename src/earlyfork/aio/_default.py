"""`run_sync`: one call in a worker of a default pool."""

from __future__ import annotations

import os
import weakref
from typing import Any

import earlyfork
from earlyfork.aio._client import Client
from earlyfork.aio._loops import loop


class _Pool:
    """The workers of one event loop; they end with it."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.idle: list[Client] = []
        self.busy = 0
        try:
            self.most = len(os.sched_getaffinity(0))
        except AttributeError:  # macOS
            self.most = os.cpu_count() or 1
        self.waiting: list[Any] = []

    async def take(self) -> Client:
        """A worker that has nothing to do; waits as long as all are busy."""
        while self.busy >= self.most:
            event = self.kind.Event()
            self.waiting.append(event)
            try:
                await event.wait()
            except BaseException:
                if event in self.waiting:
                    self.waiting.remove(event)
                else:
                    self._next()  # this one was meant to go on, and does not
                raise
        self.busy += 1
        while self.idle:
            client = self.idle.pop()
            if client.process.poll() is None:
                return client
        return Client(earlyfork.new())

    def give(self, client: Client) -> None:
        """It is done; a worker that was killed or has retired is not used again."""
        self.busy -= 1
        if client._rest():
            self.idle.append(client)
        self._next()

    def _next(self) -> None:
        if self.waiting:
            self.waiting.pop(0).set()


_POOLS: weakref.WeakKeyDictionary[Any, _Pool] = weakref.WeakKeyDictionary()


async def run_sync(fn: Any, /, *args: Any, cancellable: bool = True, **kwargs: Any) -> Any:
    """Call a function in a process of a default pool, as many at once as there are CPUs.

    Args:
        fn: a function of a module, or its name.
        *args: what it is called with.
        cancellable: when the task is cancelled, the call is ended. False: its end is waited for.
        **kwargs: what it is called with.

    Raises:
        WorkerDied: the process ended before it answered.
        BaseException: what the function has raised.
    """
    kind = loop()
    key = kind.key()
    pool = _POOLS.get(key)
    if pool is None:
        pool = _POOLS[key] = _Pool(kind)
    client = await pool.take()
    try:
        if cancellable:
            return await client.call(fn, *args, **kwargs)
        found: list[Any] = []

        async def whole() -> None:
            found.append(await client.call(fn, *args, **kwargs))

        await kind.shielded(whole)
        return found[0]
    finally:
        pool.give(client)
