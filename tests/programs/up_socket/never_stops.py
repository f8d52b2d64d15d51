"""Has a child talk without a pause, by several processes: others are served, and made ahead."""

import earlyfork
import os
import signal
import support
import sys
import work

FLOODS = """
import earlyfork._child.here, os, socket
from earlyfork._shared import payloads, wire

def floods(flooders):
    text = payloads.pack_up(wire.IS_READY, os.getpid(), b"0")
    up = socket.socket(fileno=os.dup(earlyfork._child.here.here.up))
    parent = os.getpid()
    for _ in range(flooders):
        if not os.fork():
            os.nice(5)
            while os.getppid() == parent:
                try:
                    up.send(text)
                except OSError:
                    break
            os._exit(0)
"""
template = earlyfork.new().require("work").ready(10)
template.standby = int(sys.argv[1])
template.fork().ready(10).close()
talker = template.fork().eval(FLOODS).call("__main__.floods", 4)
pid = talker.pid
support.wait_until(lambda: len(support.children(pid)) == 4)
for _ in range(10):
    process = template.fork()
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)
    assert process.wait(10) == 0
if template.standby:
    support.wait_until(lambda: "ef-standby" in map(support.comm, support.children(template.pid)))
os.kill(pid, signal.SIGKILL)  # its owner has not read what was said: it takes it for lost
support.wait_until(lambda: not support.state(pid))
