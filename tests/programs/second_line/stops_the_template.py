"""Has a linked worker, and stops its template."""

import earlyfork  # noqa: F401 - by the main program itself
import json
import os
import signal
import support
import sys
import work
from programs.second_line.kit import Workers

workers = Workers()
worker = workers.make()
sock = worker.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
os.kill(workers.forker(), signal.SIGSTOP)
support.wait_until(lambda: support.state(workers.forker()) == "T")
print(json.dumps([worker.pid, workers.forker()]), flush=True)
sys.stdin.readline()
