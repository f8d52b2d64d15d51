"""Has a child say more, before it runs, than its owner reads: it is heard no more."""

import earlyfork
import support
import work

SAYS = """
import earlyfork._child.here, os, socket
from earlyfork._shared import payloads, wire

def says():
    text = payloads.pack_up(wire.IS_READY, os.getpid(), b"0")
    up = socket.socket(fileno=os.dup(earlyfork._child.here.here.up))
    try:
        while True:
            up.send(text)
    except OSError:
        os._exit(7)
"""
bystander = earlyfork.new()
held = bystander.run(work.hold)
assert held.recv(1) == b"!"
liar = earlyfork.new().eval(SAYS)
pid = liar.ready(10).pid
liar.call("__main__.says")
assert support.gone_within(pid)
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
try:
    liar.wait(10)
except earlyfork.ProcessLost:  # so much for its own status
    pass
else:
    raise AssertionError("its status was full")
held.close()
assert bystander.wait(10) == 0
