"""Whatever a program's processes are called, ps can tell what they are."""

import earlyfork
import os
import support

for _ in range(2):
    worker = earlyfork.new()
    sock = worker.run("work.hold")
    assert sock.recv(1) == b"!"
prepared = earlyfork.new().ready(10)


def names():
    return {*support.session(os.getsid(0)).values()}


me = support.comm(os.getpid())
support.wait_until(lambda: "ef-standby" in names())
assert support.comm(earlyfork.status().templates[0].pid) == "ef-template"
assert support.comm(worker.pid) == "work.hold"
ours = {"ef-template", "ef-standby", "ef-prepared", "work.hold"}
assert names() <= {me, *ours}, names()
