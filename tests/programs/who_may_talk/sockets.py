"""Has processes of all kinds, and looks at the names of all their sockets."""

import earlyfork
import os
import support
import work
from earlyfork.template import TEMPLATE

kept = [earlyfork.new().ready(10), TEMPLATE.fork().ready(10)]
kept.append(kept[0].fork().ready(10))
running = earlyfork.new()
sock = running.run(work.hold)
assert sock.recv(1) == b"!"
inodes = set()
for pid in support.session(os.getsid(0)):
    for target in support.open_fds(pid).values():
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
assert len(inodes) > 10, inodes
with open("/proc/net/unix") as file:
    rows = [line.split() for line in file][1:]
ours = [row for row in rows if row[6] in inodes]
assert len(ours) > 10
assert all(len(row) == 7 for row in ours), [row for row in ours if len(row) > 7]
