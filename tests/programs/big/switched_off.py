"""Where the kernel offers nothing, nothing happens, and status() says why."""

import ctypes

assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE

import earlyfork
import memory

status = earlyfork.status()
assert status.huge_pages.startswith("no: they are switched off"), status
assert f"huge pages:     {status.huge_pages}" in str(status)

made = bytearray(memory.SIZE << 20)
made[::4096] = bytes([1]) * (len(made) >> 12)


def look(sock):
    sock.sendall(b"%d" % sum(made[::4096]))


from earlyfork.template import snapshot

worker = snapshot(compact=True).fork()
assert worker.run(look).recv(100) == b"%d" % (len(made) >> 12)
assert worker.wait(30) == 0
assert memory.megabytes("self", "AnonHugePages") == 0

template = earlyfork.new().eval(memory.MAKE["objects"]).eval(memory.WORK).compact()
worker = template.fork()
assert int(worker.run("look").recv(100)) > 0
assert worker.wait(30) == 0
assert memory.megabytes(template.pid, "AnonHugePages") == 0
