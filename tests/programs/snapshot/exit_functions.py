"""Has an exit function and unwritten output when it takes its snapshot."""

import earlyfork  # noqa: F401 - the first line
import atexit
import os
import work

print("written once", end="; ")
atexit.register(print, "exit function")
from earlyfork.template import TEMPLATE

try:
    os.wait()
except ChildProcessError:
    print("no children", end="; ")
process = TEMPLATE.fork()
process.run(work.returns)
assert process.wait(10) == 0
TEMPLATE.close()
