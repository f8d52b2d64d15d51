"""A snapshot of a large program shares its huge pages; one that is compact alone has a copy."""

import earlyfork
import memory

made = bytearray(memory.SIZE << 20)
made[::4096] = bytes([1]) * (len(made) >> 12)


def look(sock):
    sock.sendall(b"%d" % sum(made[::4096]))


from earlyfork.template import TEMPLATE, snapshot

TOTAL = b"%d" % (len(made) >> 12)
TEMPLATE.standby = 0
assert TEMPLATE.fork().run(look).recv(100) == TOTAL
assert memory.megabytes("self", "AnonHugePages") < memory.SIZE * 0.1
TEMPLATE.compact().ready(30)
assert memory.huge(TEMPLATE.pid)
assert memory.megabytes(TEMPLATE.pid, "Pss") > memory.SIZE * 0.9  # a copy
TEMPLATE.close()

compact = snapshot(compact=True).ready(30)
for pid in ("self", compact.pid):  # both share it
    assert memory.huge(pid)
    assert memory.megabytes(pid, "Pss") < memory.SIZE * 0.75
assert compact.fork().run(look).recv(100) == TOTAL
made[:: 1 << 21] = bytes(len(made) >> 21)  # here: it is not written there
assert compact.fork().run(look).recv(100) == TOTAL
assert memory.huge(compact.pid)
assert "huge pages:     yes" in str(earlyfork.status())
