"""Makes all calls while the process that it forks is busy with HOW."""

import earlyfork
import os
import sys
from programs.never_waits.kit import all_calls, check

BUSY = {
    "in an import": lambda process: process.require("very_slow"),
    "in code": lambda process: process.eval("import very_slow"),
    "in a call": lambda process: process.call("importlib.import_module", "very_slow"),
}

os.mkfifo("gate")
process = earlyfork.new()
BUSY[sys.argv[1]](process)
gate = open("gate", "w")  # both ends are open: it is in the middle of that
made = all_calls(process.fork, "busy")
try:
    process.ready(0)
except TimeoutError:
    gate.close()
check(made)
process.ready(20).close()
