"""Goes to a root that "nobody" may write to, becomes that, and makes a /proc of its own there."""

import os
import socket
import sys

import earlyfork
import support
from earlyfork._owner import inside
from earlyfork._shared import payloads, wire

with open("/proc/self/status") as file:
    as_root = file.read()
os.chown(sys.argv[1], 65534, 65534)
out, into = os.pipe()
os.dup2(into, 1)
os.chroot(sys.argv[1])
os.chdir("/")
prepared = earlyfork.new().eval("import os").ready(10)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for name in ("self", str(os.getpid())):
    os.makedirs(f"/proc/{name}")
    with open(f"/proc/{name}/status", "w") as file:
        file.write(as_root)
batch = wire.batch(
    wire.frame(wire.EVAL, payloads.pack_values(("<code>", "os.write(1, b'%d' % os.getuid())")))
)
with socket.socket(fileno=os.dup(inside.comm_fd(prepared))) as comm:
    comm.sendall(batch)
    support.wait_until(
        lambda: support.eof_within(comm.fileno(), 0) or support.readable_within(out, 0)
    )
assert not support.readable_within(out, 0), os.read(out, 100)
