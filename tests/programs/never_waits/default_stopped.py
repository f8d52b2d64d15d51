"""Makes all calls while the default template is stopped."""

import earlyfork
import os
import signal
import support
from programs.never_waits.kit import all_calls, check, hold_still

earlyfork.new().ready(10).close()
pid = earlyfork.status().templates[0].pid
hold_still(pid)
made = all_calls(earlyfork.new, "stopped")
assert support.state(pid) == "T"
os.kill(pid, signal.SIGCONT)
check(made)
