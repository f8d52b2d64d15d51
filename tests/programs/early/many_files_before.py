"""Opens much, makes it inheritable, and then takes a template: nothing of that is in it."""

import contextlib
import os
import socket
import tempfile

pipes = [os.pipe() for _ in range(60)]
pairs = [socket.socketpair() for _ in range(20)]
files = [tempfile.TemporaryFile() for _ in range(20)]
os.dup2(pipes[0][1], 900)
for fd in range(3, 200):
    with contextlib.suppress(OSError):
        os.set_inheritable(fd, True)
theirs = {
    os.readlink(f"/proc/self/fd/{fd}")
    for fd in os.listdir("/proc/self/fd")
    if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")
}
import earlyfork
import support

earlyfork.status()
support.wait_until(lambda: earlyfork.status().templates[0].pid)
pid = earlyfork.status().templates[0].pid
found = support.open_fds(pid)
mine = support.open_fds()
assert [found.pop(fd) for fd in (0, 1, 2)] == [mine[fd] for fd in (0, 1, 2)]
assert len(found) == 2, found  # comm and status
assert not theirs & set(found.values()), found
assert all(to.startswith("socket:") for to in found.values()), found
# In use: its children's way up, its wakeup, its queue.
process = earlyfork.new().ready(10)
found = support.open_fds(pid)
assert not theirs & set(found.values()), found
assert all(to.startswith("socket:") for fd, to in found.items() if fd > 2), found
assert len(found) < 30, found
assert not theirs & set(support.open_fds(process.pid).values())
