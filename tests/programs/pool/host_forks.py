"""The host forks with jobs open: the pool is the parent's, and the child can have its own."""

import earlyfork

import os
import sys
import warnings

from earlyfork.pool import Pool

# From 3.12 on Python warns of the pool's thread.
warnings.simplefilter("ignore", DeprecationWarning)
pool = Pool(max_workers=1)
assert pool.submit(abs, -1).result() == 1
job = pool.submit("time.sleep", 0.2)
fds = len(os.listdir("/proc/self/fd"))
pid = os.fork()
if pid == 0:
    code = 1
    try:
        for what in (
            lambda: pool.submit(abs, 1),
            job.result,
            job.cancel,
            lambda: pool.map(abs, [1]),
            pool.warm,
            lambda: pool.resize(2),
        ):
            try:
                what()
            except earlyfork.ProcessStateError as error:
                assert "belongs to process" in str(error), error
            else:
                raise AssertionError(what)
        pool.shutdown()
        pool.kill()
        with Pool(max_workers=1) as own:
            assert own.submit(abs, -2).result() == 2
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert job.result() is None
assert pool.submit(abs, -3).result() == 3
pool.shutdown()
print("all well")
