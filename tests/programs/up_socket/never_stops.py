"""Has a child ask without a pause, by several processes: others are served, and made ahead."""

import earlyfork
import support
import sys
import work

FLOODS = """
import earlyfork._child.here, os, socket
from earlyfork._shared import payloads, wire

def floods(sock):
    text = payloads.pack_up(wire.SIBLING, os.getpid())
    up = socket.socket(fileno=os.dup(earlyfork._child.here.here.up))
    ends = [end.detach() for end in socket.socketpair()]  # what is made sees other bytes, and ends
    parent = os.getpid()
    for _ in range(3):
        if not os.fork():
            sock.close()
            os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
            while os.getppid() == parent:
                socket.send_fds(up, [text], ends)
            os._exit(0)
    sock.sendall(b"!")
    sock.recv(1)
"""
template = earlyfork.new().require("work").eval(FLOODS)
template.eval("import sys; sys.stderr = None").ready(10)
template.standby = int(sys.argv[1])
template.fork().ready(10).close()
talker = template.fork()
sock = talker.run("floods")
assert sock.recv(1) == b"!"
for _ in range(5):
    process = template.fork()
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)
    assert process.wait(10) == 0
if template.standby:
    support.wait_until(lambda: "ef-standby" in map(support.comm, support.children(template.pid)))
sock.close()
assert talker.wait(10) == 0
