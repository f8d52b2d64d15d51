"""A clean process attaches to the program's shared memory in the way that it is told."""

import earlyfork
import os
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

import support

ATTACH = """
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

def attach(sock, name, way):
    there = SharedMemory(name, track=False) if way == "track" else SharedMemory(name)
    if way == "unregister":
        resource_tracker.unregister(there._name, "shared_memory")
    there.buf[0] += 1
    there.close()
"""
way = sys.argv[1]
memory = SharedMemory(create=True, size=16)
worker = earlyfork.new().eval(ATTACH).send_arg(memory.name, way)
if way == "plain":  # its own tracker says what it does
    worker.eval("import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2)")
worker.run("attach").close()
assert worker.wait(10) == 0
assert memory.buf[0] == 1
# The worker's own tracker, if it needed one, ends after it.
ours = {entry.pid for entry in earlyfork.status().templates}
ours.add(resource_tracker._resource_tracker._pid)
support.wait_until(lambda: not support.left_in_session(ours))
print(os.path.exists(f"/dev/shm/{memory.name}"))
memory.close()
if way == "plain":
    resource_tracker.unregister(memory._name, "shared_memory")
else:
    memory.unlink()
