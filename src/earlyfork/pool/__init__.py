"""A pool of workers that one death does not break. Stands on `earlyfork.rpc`.

    with earlyfork.pool.Pool() as pool:
        results = list(pool.map("math.factorial", range(100)))

This module is loaded in workers too, so each name is loaded when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = not __name__  # never; but jedi believes a plain False, and completes no name
if TYPE_CHECKING:
    from earlyfork.pool._errors import PoolBroken
    from earlyfork.pool._job import Job
    from earlyfork.pool._map import Results
    from earlyfork.pool._options import Options
    from earlyfork.pool._pool import Pool
    from earlyfork.pool._staff import Death, Stats
    from earlyfork.pool._streams import Stream
    from earlyfork.rpc import CallCancelled, CallTimeout, WorkerDied, retire

__all__ = [
    "CallCancelled",
    "CallTimeout",
    "Death",
    "Job",
    "Options",
    "Pool",
    "PoolBroken",
    "Results",
    "Stats",
    "Stream",
    "WorkerDied",
    "retire",
]

_HOMES = {
    **dict.fromkeys(("Death", "Stats"), "pool._staff"),
    "Options": "pool._options",
    **dict.fromkeys(("CallCancelled", "CallTimeout", "WorkerDied"), "rpc._errors"),
    "Job": "pool._job",
    "Pool": "pool._pool",
    "PoolBroken": "pool._errors",
    "Results": "pool._map",
    "Stream": "pool._streams",
    "retire": "rpc._there",
}


def _load(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'earlyfork.pool' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"earlyfork.{home}"), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # to a type checker any name would exist
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
