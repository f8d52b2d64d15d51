"""Runs a linked worker while there is no fd for it, or one, or two ... until there are enough."""

import earlyfork  # noqa: F401 - by the main program itself
import errno
import os
import resource
import support
import work
from programs.second_line.kit import Workers

workers = Workers()
limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
worker = workers.make().ready(10)
for room in range(8):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    filled = support.fill_fds()
    for fd in filled[:room]:
        os.close(fd)
    try:
        sock = worker.run(work.hold, linked=True)
    except OSError as error:
        assert error.errno == errno.EMFILE and "linked" in str(error), error
        sock = None
    more = support.fill_fds()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    for fd in filled[room:] + more:
        os.close(fd)
    if sock is not None:
        break
    assert len(more) == room, (more, room)
assert room >= 3
assert sock.recv(1) == b"!"
workers.kill_template()
sock.sendall(b"more")
assert worker.state == "running" or support.alive(worker.pid)
sock.close()
