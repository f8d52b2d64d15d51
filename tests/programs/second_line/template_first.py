"""Runs linked.py's functions, kills their template, and does HANDLE with the handles."""

import earlyfork
import gc
import json
import support
import sys
from programs.second_line.kit import Workers

_, handle, *names = sys.argv[1:]


def snapshot():
    import earlyfork.template

    return earlyfork.template.snapshot()


workers = Workers(sys.argv[1], snapshot)
made, socks = [], []
for name in names:
    made.append(workers.make().eval(support.program("lifelines/linked.py")))
    socks.append(made[-1].run(name, linked=True))
    assert socks[-1].recv(1) == b"!"
pids = [worker.pid for worker in made]
support.wait_until(lambda: support.state(pids[-1]) == "T")
while handle == "closed before" and made:
    made.pop().close()
workers.kill_template()
while handle == "closed" and made:
    made.pop().close()
for worker in made if handle == "asked" else ():
    try:
        worker.wait(10)
    except earlyfork.ProcessLost:
        worker.close()
    else:
        raise AssertionError("a status was invented")
if handle == "dropped":
    del made
    gc.collect()
earlyfork.status()  # looks after those without a handle
assert all(support.alive(pid) for pid in pids), [support.describe(pid) for pid in pids]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
