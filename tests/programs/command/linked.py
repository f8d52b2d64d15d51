"""A linked command with a child of its own; says their pids, then waits to be killed."""

import earlyfork  # noqa: F401

import sys

from earlyfork import command

script = "sleep 1000 & echo $! $$; wait"
process = command.Popen(["sh", "-c", script], stdout=-1, text=True, linked=True)
print("[" + process.stdout.readline().strip().replace(" ", ",") + "]", flush=True)
sys.stdin.readline()
