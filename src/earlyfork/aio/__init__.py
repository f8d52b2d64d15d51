"""Everything of earlyfork that waits, awaitable: on asyncio (uvloop too) and on trio.

Calls that never wait (`new`, `require`, `fork`, `run`) stay as they are. There are no timeout
arguments: `asyncio.timeout` and `trio.fail_after` do that. No thread is made.
"""

from __future__ import annotations

from earlyfork.aio._client import Client, Options, Stream
from earlyfork.aio._commands import run_command
from earlyfork.aio._default import run_sync
from earlyfork.aio._pool import Pool, PoolOptions, PoolStream
from earlyfork.aio._processes import EndOfStream, Group, Run, SocketStream, group, ready, run, wait

__all__ = [
    "Client",
    "EndOfStream",
    "Group",
    "Options",
    "Pool",
    "PoolOptions",
    "PoolStream",
    "Run",
    "SocketStream",
    "Stream",
    "group",
    "ready",
    "run",
    "run_command",
    "run_sync",
    "wait",
]

for _public in (Client, EndOfStream, Group, Options, Run, SocketStream, Stream):
    _public.__module__ = "earlyfork.aio"  # where users import them from
