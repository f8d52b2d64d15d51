"""Has everything that must not outlive it, tells the pids, and ends in the way that it is told."""

import earlyfork
import json
import os
import signal
import support
import sys


def raises():
    raise RuntimeError("end of main")


ENDS = {
    "returns": lambda: None,
    "exits": lambda: sys.exit(3),
    "raises": raises,
    "os._exit": lambda: os._exit(4),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "exec": lambda: os.execv("/bin/sh", ["sh", "-c", "read line; exit 5"]),
}

from earlyfork.template import TEMPLATE

launched = earlyfork.new_exec(executable=sys.executable).ready(10)
kept = [earlyfork.new().ready(10) for _ in range(3)]
clones = [kept[0].fork().ready(10), TEMPLATE.fork().ready(10), kept[0].fork().fork().ready(10)]
never_ready = earlyfork.new()
busy = earlyfork.new().eval("import select; select.select([], [], [], 0.5)")
status = earlyfork.status()
assert all(entry.pid for entry in status.templates)
pids = [entry.pid for entry in (*status.templates, *status.processes) if entry.pid]
support.wait_for_standby()
pids += [pid for pid in support.session(os.getsid(0)) if pid not in (*pids, os.getpid())]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
ENDS[sys.argv[1]]()
