"""A backend of joblib, and so of scikit-learn: registered as "earlyfork" when this is imported.

    import earlyfork.pool.joblib

    with joblib.parallel_config("earlyfork", n_jobs=4):
        joblib.Parallel()(joblib.delayed(function)(n) for n in range(100))

The workers of all calls with as many jobs are those of one pool, which stays. A job that kills its
worker fails with WorkerDied, and so does the call, as with any other error; the next call has new
workers.
"""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
from joblib._multiprocessing_helpers import mp
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)

import earlyfork
from earlyfork.pool._pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds after which idle workers end. As long as loky's, since what they have imported is dear.
IDLE = 300.0

_pools: dict[tuple[object, ...], Pool] = {}


def _pool(n_jobs: int, env: dict[str, str], first: tuple[Any, Any]) -> Pool:
    """The pool for so many jobs at once, with these settings of the environment."""
    key_of_proxies = bytes(mp.current_process().authkey) if mp is not None else b""
    packed = cloudpickle.dumps(first, protocol=5)
    key = (os.getpid(), n_jobs, packed, *sorted(env.items()))
    pool = _pools.get(key)
    if pool is None:
        template = earlyfork.new(env={**os.environ, **env}).require("joblib")
        template.send_arg(key_of_proxies, packed)
        made = Pool(template, max_workers=n_jobs, idle_timeout=IDLE, init=begin)
        pool = _pools.setdefault(key, made)
    return pool


def begin(key_of_proxies: bytes, packed: bytes) -> None:
    """First in each worker: let it use the proxies of managers, and run the user's initializer."""
    if key_of_proxies and mp is not None:
        mp.current_process().authkey = key_of_proxies
    function, args = pickle.loads(packed)  # there may be proxies in it
    if function is not None:
        function(*args)


def run(data: bytes, buffers: tuple[Any, ...]) -> Any:
    """In a worker: run what `_EarlyforkBackend.submit` has packed."""
    return pickle.loads(data, buffers=buffers)()


class _EarlyforkBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """joblib's tasks as jobs of an `earlyfork.pool.Pool`.

    Functions of the main program, lambdas and closures travel by value (joblib has cloudpickle);
    large arrays travel outside of the pickles, as copies.

    Args:
        pool: a pool of the caller's, who shuts it down. Default: one for each number of jobs, kept
            by this module, with joblib imported in its template.
        **options: as joblib gives them; `initializer` and `initargs` are those of loky.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(self, pool: Pool | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._given = pool
        self._pool: Pool | None = None
        self._jobs: set[Any] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many jobs run at once.

        Raises:
            ValueError: n_jobs is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return int(n_jobs if n_jobs > 0 else max(joblib.cpu_count() + 1 + n_jobs, 1))

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Begin a call of `joblib.Parallel`.

        Raises:
            ValueError: an initializer for a pool of the caller's, which has one of its own.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = {**self.backend_kwargs, **options}
        first = options.get("initializer"), tuple(options.get("initargs", ()))
        if self._given is None:
            self._pool = _pool(n_jobs, self._prepare_worker_env(n_jobs=n_jobs), first)
        elif first[0] is None:
            self._pool = self._given
        else:
            raise ValueError("give the pool itself an initializer: Pool(init=...)")
        self.parallel = parallel
        return n_jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> Any:
        """Give a batch of tasks to the pool."""
        assert self._pool is not None
        buffers: list[pickle.PickleBuffer] = []
        data = cloudpickle.dumps(func, protocol=5, buffer_callback=buffers.append)
        job = self._pool.submit(run, data, tuple(buffers))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        if callback is not None:
            job.add_done_callback(callback)
        return job

    apply_async = submit  # what joblib called it before 1.5

    def retrieve_result_callback(self, out: Any) -> Any:
        """What a batch has given.

        Raises:
            WorkerDied: a task has killed its worker.
            BaseException: what a task has raised.
        """
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """End all that was not done, even what runs. The workers stay, or are replaced."""
        for job in list(self._jobs):
            job.cancel()

    def terminate(self) -> None:
        """End a call of `joblib.Parallel`. The pool stays for the next one."""
        self._pool = None
        self._jobs.clear()
        self.reset_batch_stats()


joblib.register_parallel_backend("earlyfork", _EarlyforkBackend)
