"""A tracker and a forkserver of the program's run when it forks its early template."""

import os
from multiprocessing import forkserver, resource_tracker

resource_tracker.ensure_running()
forkserver.ensure_running()
import earlyfork

assert earlyfork.status().early, earlyfork.status()
USE = """
import multiprocessing, os
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

def use(sock, *files):
    assert resource_tracker._resource_tracker._fd is None
    memory = SharedMemory(create=True, size=16)
    memory.close()
    memory.unlink()
    process = multiprocessing.get_context("forkserver").Process(target=print, args=("served",))
    process.start()
    process.join()
"""
worker = earlyfork.new().eval(USE)
# Pipes that take the numbers of what the template closed.
ends = [os.pipe() for _ in range(4)]
worker.send_fh(*(end for pair in ends for end in pair)).run("use").close()
assert worker.wait(20) == 0
for read, write in ends:
    os.close(write)
    assert os.read(read, 100) == b""
