"""The multiprocessing start method "earlyfork": whatever uses multiprocessing can use earlyfork.

Importing this registers it: `multiprocessing.get_context("earlyfork")` and
`multiprocessing.set_start_method("earlyfork")` work from then on, here and in all workers. The
semantics are those of "spawn"; the processes come from earlyfork's templates.

A layer on top: all of its files use the public API of `earlyfork` only.
"""

from __future__ import annotations

from earlyfork.mp.method import NAME, EarlyForkContext, EarlyForkProcess, get_context

__all__ = ["NAME", "EarlyForkContext", "EarlyForkProcess", "get_context"]

for _public in (EarlyForkContext, EarlyForkProcess, get_context):
    _public.__module__ = "earlyfork.mp"  # where users, and what they pickle, import them from
