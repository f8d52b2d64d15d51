"""A template that is left alone does it by itself; with memory that it shares, it does not."""

import earlyfork
import memory
import support

template = earlyfork.new().eval(memory.MAKE["buffer"]).ready(30)
support.wait_until(lambda: memory.huge(template.pid), 30)

# What it does in its own time is called here, so that it is known when it has looked.
LOOK = "from earlyfork._shared import huge\nassert not huge.compact()"
shares = earlyfork.new().eval(memory.MAKE["buffer"])
shares.standby = 0
child = shares.fork().ready(30)
shares.eval(LOOK).ready(30)
child.eval(LOOK).ready(30)
for process in (shares, child):
    assert memory.megabytes(process.pid, "Pss") < memory.SIZE * 0.75
    assert memory.megabytes(process.pid, "AnonHugePages") < memory.SIZE * 0.1
shares.compact().ready(30)  # when asked, it does
assert memory.huge(shares.pid)
assert memory.megabytes(shares.pid, "Pss") > memory.SIZE * 0.9

# It stops as soon as somebody asks for something.
STOPS = """
import socket
from earlyfork._child import compact
from earlyfork._shared import huge
asked = iter([False] * 8 + [True])
assert huge.compact(asked.__next__)
near, far = socket.socketpair()
near.send(b"x")
assert compact.at_leisure(far.fileno())
"""
busy = earlyfork.new().eval(memory.MAKE["buffer"] + STOPS).ready(30)
assert memory.megabytes(busy.pid, "AnonHugePages") <= 16
