"""Runs each of linked.py's functions that it is told, linked, and keeps of it what HANDLE says."""

import earlyfork
import gc
import json
import support
import sys
import threading

handle, *names = sys.argv[1:]
made, socks, pids = [], [], []


def start(name):
    worker = earlyfork.new().eval(support.program("lifelines/linked.py"))
    sock = worker.run(name, linked=True)
    assert sock.recv(1) == b"!"
    pids.append(worker.pid)
    if handle != "dropped":
        made.append(worker)
    if handle != "socket dropped":
        socks.append(sock)


for name in names:
    if handle == "started by a thread":
        thread = threading.Thread(target=start, args=(name,))
        thread.start()
        thread.join()  # the thread's own end is nobody's end
    else:
        start(name)
gc.collect()
support.wait_until(lambda: support.state(pids[-1]) == "T")
assert all(support.alive(pid) for pid in pids), [support.describe(pid) for pid in pids]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
