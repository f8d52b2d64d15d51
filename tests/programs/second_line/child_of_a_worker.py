"""Has a linked worker that has ended and left a child behind, when the template is killed."""

import earlyfork  # noqa: F401 - by the main program itself
import gc
import os
import signal
import support
import work
from programs.second_line.kit import Workers

workers = Workers()
worker = workers.make()
line = worker.run(work.leaves_a_child, linked=True).makefile()
child = int(line.readline())
assert worker.wait(10) == 0
workers.kill_template()
worker.close()
gc.collect()
assert support.alive(child)
os.kill(child, signal.SIGKILL)
assert support.gone_within(child)
