"""Attacks by code that took over a main program which is "nobody": HOW is the argument.

A process of its own asks for a process by a FORK of its own make, and its batch waits there before
the new process looks at who sent it. Meanwhile the sender changes what the system says of it.
"""

import ctypes
import os
import signal
import socket
import sys

import earlyfork
import support
from earlyfork._owner import inside
from earlyfork._shared import payloads, wire

SOURCE = """
import os
with open('/proc/self/status') as file:
    rights = [line.split() for line in file if line.startswith(('CapPrm', 'CapEff'))]
os.write(1, repr((os.getresuid(), os.getresgid(), rights)).encode())
"""
BATCH = wire.batch(wire.frame(wire.EVAL, payloads.pack_values(("<code>", SOURCE))))
NONE = "0000000000000000"
LEAST = ((65534,) * 3, (65534,) * 3, [["CapPrm:", NONE], ["CapEff:", NONE]])
CLONE_NEWUSER = 0x10000000

libc = ctypes.CDLL(None, use_errno=True)
how = sys.argv[1]
out, into = os.pipe()
os.dup2(into, 1)
template = earlyfork.new().eval("1").ready(10)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)

near, far = support.comm_pair()
ready, done = os.pipe()
pid = os.fork()
if not pid:
    near.sendall(BATCH)
    if how == "ends":
        os._exit(0)
    if how == "executes a setuid program":
        # It waits for a password, as root, and its end of `done` is closed by its exec.
        waits = os.open("/dev/null", os.O_WRONLY)
        os.dup2(os.pipe()[0], 0)
        os.dup2(waits, 1)
        os.dup2(waits, 2)
        os.execv("/usr/bin/su", ["su", "root"])
    if how == "makes a namespace of users":
        assert libc.unshare(CLONE_NEWUSER) == 0
    os.close(done)
    signal.pause()
os.close(done)
if how == "ends":
    os.waitpid(pid, 0)
else:
    support.wait_until(lambda: support.eof_within(ready, 0))
status, far_status = socket.socketpair()
far_status.setblocking(False)
with socket.socket(fileno=os.dup(inside.comm_fd(template))) as raw, near, far, status:
    fds = [far.fileno(), far_status.fileno()]
    socket.send_fds(raw, [wire.batch(wire.frame(wire.FORK), 2)], fds)
    far.close()
    far_status.close()
    support.wait_until(
        lambda: support.eof_within(near.fileno(), 0) or support.readable_within(out, 0)
    )
    found = os.read(out, 1000).decode() if support.readable_within(out, 0) else None
assert found in (None, repr(LEAST)), found
assert found or how != "does nothing"
if how != "ends":
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
