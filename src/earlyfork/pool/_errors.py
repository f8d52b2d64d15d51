"""What a pool ends with."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from earlyfork import EarlyForkError


class PoolBroken(BrokenExecutor, EarlyForkError):  # noqa: N818 - as BrokenProcessPool
    """No worker of the pool can begin: three in a row have failed. The cause: why the last did."""


PoolBroken.__module__ = "earlyfork.pool"  # where users import it from
