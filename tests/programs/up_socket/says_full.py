"""Has a child that is no nursery say that it is full: it is heard no more, and nothing changes."""

import earlyfork
import work

SAYS = """
import os
from earlyfork._child.here import tell
from earlyfork._shared import wire
tell(wire.FULL, b"")
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
template = earlyfork.new().eval(LIMIT).require("work").ready(10)  # it is crowded soon
held = [template.fork() for _ in range(12)]
socks = [process.run(work.hold) for process in held]
assert [sock.recv(1) for sock in socks] == [b"!"] * 12
liar = template.fork().eval(SAYS)
try:
    liar.ready(0.2)
except (TimeoutError, earlyfork.EarlyForkError):  # it is not heard, and may have seen so
    pass
else:
    raise AssertionError("it was heard")
more = template.fork()
assert work.got(more.send_arg(1).run(work.echo)) == (1,)
assert more.wait(10) == 0
for sock in socks:
    sock.close()
assert [process.wait(10) for process in held] == [0] * 12
liar.close()
