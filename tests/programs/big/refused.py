"""The kernel has no huge page, or can't give one just now: the template serves all the same."""

import errno
import os

import earlyfork
import memory

template = earlyfork.new().eval(memory.MAKE["buffer"]).eval(memory.WORK).compact().ready(30)
found = memory.megabytes(template.pid, "AnonHugePages")
if int(os.environ["REFUSES"]) == errno.EAGAIN:  # which is tried three times
    assert found > memory.SIZE * 0.8, found
else:
    assert found == 0, found
worker = template.fork()
assert int(worker.run("look").recv(100)) > 0
assert worker.wait(30) == 0
