"""Speaks to templates as code does that took over a main program after that gave up its rights.

It has all fds of the program and knows the protocol. What it gets has no more rights than it has.
"""

import os
import socket

import earlyfork
import support
from earlyfork._owner import inside
from earlyfork._shared import payloads, wire


def evaluate():
    source = "import os\nos.write(1, repr((os.getresuid(), os.getresgid())).encode())"
    return wire.batch(wire.frame(wire.EVAL, payloads.pack_values(("<code>", source))))


def answer(comm, batch):
    """What comes at stdout of whoever obeys it: nothing, if nobody does."""
    comm.sendall(batch)
    os.set_blocking(out, False)
    support.wait_until(lambda: support.eof_within(comm.fileno(), 0) or readable())
    try:
        return os.read(out, 1000)
    except BlockingIOError:
        return b""


def readable():
    return support.readable_within(out, 0)


out, into = os.pipe()
os.set_inheritable(into, True)
os.dup2(into, 1)  # the streams are what every process gets
prepared = earlyfork.new().eval("1").ready(10)
template = earlyfork.new().eval("1").ready(10)
template.fork().ready(10).close()
support.wait_for_standby()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
least = repr(((65534,) * 3, (65534,) * 3)).encode()

# A process that was prepared before, a new one, and one in whose queue a standby waited.
for process in (prepared, earlyfork.new().ready(10), template.fork()):
    with socket.socket(fileno=os.dup(inside.comm_fd(process))) as comm:
        found = answer(comm, evaluate())
    assert found == least, found

# Sockets of its own make: at one of them the kernel does not say who sends.
for near, far in (support.comm_pair(), socket.socketpair()):
    is_known = bool(far.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED))
    status, far_status = socket.socketpair()
    with socket.socket(fileno=os.dup(inside.comm_fd(template))) as raw, near, far, status:
        far_status.setblocking(False)
        batch = wire.batch(wire.frame(wire.FORK), 2)
        socket.send_fds(raw, [batch], [far.fileno(), far_status.fileno()])
        far.close()
        far_status.close()
        found = answer(near, evaluate())
    assert found == (least if is_known else b""), found
