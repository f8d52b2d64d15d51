"""Makes the first process by WHAT when a user may have no more: it has no template then."""

import earlyfork
import earlyfork.template
import errno
import os
import resource
import sys
import work

what = sys.argv[1]
make = {
    "the first new()": earlyfork.new,
    "new_exec()": lambda: earlyfork.new_exec(executable=sys.executable),
    "snapshot()": earlyfork.template.snapshot,
}[what]
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
before = len(os.listdir("/proc/self/fd"))
for limit in (1, 2, 3) if what == "snapshot()" else (1, 1):
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
    try:
        make()
    except BlockingIOError as error:
        assert error.errno == errno.EAGAIN
        assert "launched" in str(error) or "template" in str(error), error
    else:
        raise AssertionError("it was made")
    assert len(os.listdir("/proc/self/fd")) == before
    try:
        raise AssertionError(os.wait())
    except ChildProcessError:
        pass
resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
process = make()
if what == "snapshot()":
    process = process.fork()
assert work.got(process.run("work.echo")) == ()
assert process.wait(10) == 0
print("good")
