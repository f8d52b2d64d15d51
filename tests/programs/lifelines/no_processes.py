"""Has no more processes than it is allowed, as a user who may have no more."""

import earlyfork
import contextlib
import errno
import os
import resource
import support
import work

kept = earlyfork.new().ready(10)
kept.fork().ready(10)
[template] = [t.pid for t in earlyfork.status().templates if t.name == "early"][:1]
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
for pid in support.session(os.getsid(0)):
    with contextlib.suppress(ProcessLookupError):  # a stale standby, on its way out
        resource.prlimit(pid, resource.RLIMIT_NPROC, (1, hard))
refused = 0
for make in (earlyfork.new, kept.fork) * 6:
    process = make()
    try:
        process.ready(10).close()
    except BlockingIOError as error:
        assert error.errno == errno.EAGAIN, error
        assert "could not fork" in str(error)
        refused += 1
        for ask in (process.wait, lambda process=process: process.pid):
            try:
                ask()
            except BlockingIOError:
                continue
            raise AssertionError("a process that never was has no status") from None
assert refused >= 4, refused
for pid in support.session(os.getsid(0)):
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NPROC, (soft, hard))
for make in (earlyfork.new, kept.fork) * 2:
    process = make()
    assert work.got(process.run(work.pid)) == process.pid
    assert process.wait(10) == 0
assert template in [t.pid for t in earlyfork.status().templates]
print("good")
