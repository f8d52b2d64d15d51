"""Makes all calls while the process that it forks is stopped."""

import earlyfork
import os
import signal
import support
import work
from programs.never_waits.kit import all_calls, check, hold_still, prepare

stopped = earlyfork.new().ready(10)
pid = stopped.pid
hold_still(pid)
made = all_calls(stopped.fork, "stopped")
prepare(stopped, "too")
sock = stopped.run("work.types")
assert support.state(pid) == "T"
os.kill(pid, signal.SIGCONT)
check(made)
assert len(work.got(sock)) == 5
assert stopped.wait(20) == 0
