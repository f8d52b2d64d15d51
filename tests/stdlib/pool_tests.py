"""CPython's own tests of `ProcessPoolExecutor`, with `earlyfork.pool.Pool` in its place.

    python pool_tests.py [-v] [--slow] [TEST ...]

Adapted by name only: a pool takes `initializer`, `initargs` and `max_tasks_per_child` as `init` and
`max_tasks`, shows its workers as `_processes`, and what the tests call BrokenProcessPool is
WorkerDied. Each test that is left out is named with its reason. The exit status says whether all
others passed; it is 77 where the interpreter has no tests (Debian's are in libpython3-testsuite).
"""

from __future__ import annotations

import os

if os.environ.get("EARLYFORK") != "0":
    import earlyfork  # noqa: F401 - forks the early template

import functools
import importlib
import importlib.util
import sys
import unittest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MP = "it hands a semaphore or a manager of multiprocessing to the workers by inheritance"
INSIDE = "it looks at ProcessPoolExecutor's own threads, queues and processes"
ONE = "a death costs one job, and the pool goes on"
OWN_NAME = "its program names ProcessPoolExecutor itself"
PICKLE = "what can't be pickled is refused by submit itself"
UNPICKLE = "what can't be unpickled fails that job with its own error, and the pool goes on"
#: Methods, and why they say nothing here.
LEFT_OUT = {
    "test_killed_child": ONE,
    "test_saturation": MP,
    "test_processes_terminate": MP,
    "test_ressources_gced_in_workers": MP,
    "test_idle_process_reuse_one": "it asks for the start method of multiprocessing",
    "test_idle_process_reuse_multiple": "it asks for the start method of multiprocessing",
    "test_max_tasks_per_child": "it asks for the start method; tests/pool asks the same",
    "test_max_tasks_early_shutdown": "it asks for the start method; tests/pool asks the same",
    "test_max_tasks_per_child_defaults_to_spawn_context": "there are no contexts",
    "test_python_finalization_error": INSIDE,
    "test_max_workers_too_large": "Windows only",
    "test_traceback": "the cause is a RemoteError; tests/pool asks the same",
    "test_interpreter_shutdown": (
        "a program's end ends its workers; who wants the results says shutdown() or `with`"
    ),
    "test_submit_after_interpreter_shutdown": OWN_NAME,
    "test_hang_gh83386": OWN_NAME,
    "test_context_manager_shutdown": INSIDE,
    "test_del_shutdown": INSIDE,
    "test_shutdown_no_wait": INSIDE,
    "test_crash_at_task_pickle": PICKLE,
    "test_exit_at_task_pickle": PICKLE,
    "test_error_at_task_pickle": PICKLE,
    "test_shutdown_deadlock_pickle": INSIDE,
    "test_crash_big_data": INSIDE,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": INSIDE,
    "test_error_at_task_unpickle": UNPICKLE,
    "test_exit_at_task_unpickle": UNPICKLE,
    "test_error_during_result_unpickle_in_result_handler": UNPICKLE,
    "test_exit_during_result_unpickle_in_result_handler": UNPICKLE,
    "test_cancel_futures": (
        "it wants some jobs to escape the cancelling; here none has begun so early, and none does"
    ),
}
#: Methods that take seconds.
SLOW = {
    "test_map_timeout",
    "test_hang_issue12364",
    "test_timeout",
    "test_first_exception",
    "test_first_completed",
    "test_pending_calls_race",
}
#: Where the tests are: as one module, or, from 3.12 on, as a package.
MODULES = ("test_as_completed", "test_wait", "test_process_pool", "test_init", "test_shutdown",
           "test_deadlock")  # fmt: skip
CLASSES = ("AsCompletedTests", "WaitTests", "ProcessPoolExecutorTest", "InitializerMixin",
           "ProcessPoolShutdownTest", "ExecutorDeadlockTest")  # fmt: skip


def adapted() -> Any:
    from earlyfork.pool import Pool

    class Adapted(Pool):
        def __init__(
            self,
            max_workers: int | None = None,
            mp_context: None = None,
            initializer: Any = None,
            initargs: tuple[Any, ...] = (),
            max_tasks_per_child: int | None = None,
        ) -> None:
            assert mp_context is None
            init = None if initializer is None else functools.partial(initializer, *initargs)
            super().__init__(max_workers=max_workers, init=init, max_tasks=max_tasks_per_child)

    return Adapted


def modules() -> tuple[Any, list[Any]]:
    package = importlib.import_module("test.test_concurrent_futures")
    if not hasattr(package, "__path__"):
        return package, [package]
    name = package.__name__
    found = [importlib.import_module(f"{name}.{part}") for part in MODULES]
    return importlib.import_module(f"{name}.util"), found


def classes() -> Iterator[type[unittest.TestCase]]:
    from earlyfork.pool import WorkerDied

    util, found = modules()

    class EarlyForkMixin(util.ExecutorMixin):
        executor_type = adapted()

        def get_context(self) -> None:
            return None

    for module in found:
        if hasattr(module, "BrokenProcessPool"):
            module.BrokenProcessPool = WorkerDied
        for name in CLASSES:
            base = getattr(module, name, None)
            if base is not None and base.__module__ == module.__name__:
                bases = (base, EarlyForkMixin, util.BaseTestCase)
                yield type(f"EarlyFork{name}", bases, {"__module__": __name__})


def flat(suite: Any) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for test in suite:
        found += flat(test) if isinstance(test, unittest.TestSuite) else [test]
    return found


def main() -> int:
    options = [word for word in sys.argv[1:] if word.startswith("-")]
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    if importlib.util.find_spec("test.test_concurrent_futures") is None:
        print("this interpreter has no tests")
        return 77
    loader = unittest.TestLoader()
    left_out = {}
    chosen = unittest.TestSuite()
    for test in flat([loader.loadTestsFromTestCase(one) for one in classes()]):
        name = test.id().rpartition(".")[2]
        if names:
            if name in names:
                chosen.addTest(test)
        elif name in LEFT_OUT:
            left_out[name] = LEFT_OUT[name]
        elif name not in SLOW or "--slow" in options:
            chosen.addTest(test)
    for name, why in left_out.items():
        print(f"left out: {name}: {why}")
    result = unittest.TextTestRunner(verbosity=2 if "-v" in options else 1).run(chosen)
    return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
