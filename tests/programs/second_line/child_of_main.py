"""Has a child that outlives it: HOW it came about, and the fd that the child READs."""

import earlyfork  # noqa: F401 - by the main program itself
import json
import os
import subprocess
import support
import sys
import work
from programs.second_line.kit import Workers, holders

how, read = sys.argv[1], int(sys.argv[2])
workers = Workers()
worker = workers.make().ready(10)
children = []


def fork_a_child():
    if pid := os.fork():
        children.append(pid)
        return
    print(worker._watch.line, flush=True)
    sys.stdin.close()
    os.read(read, 1)
    os._exit(0)


def forks_first(self, head, fds, *rest):
    assert len(fds) == 3
    type(self)._send = send
    numbers = [own.fd for own in fds]
    if not (pid := os.fork()):
        still_open = [fd for fd in numbers if os.path.exists(f"/proc/self/fd/{fd}")]
        os._exit(len(still_open))
    assert os.waitpid(pid, 0)[1] == 0
    fork_a_child()
    return send(self, head, fds, *rest)


send = type(worker)._send
if how == "forks while it sends":
    type(worker)._send = forks_first
sock = worker.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
if how == "forks":
    fork_a_child()
if how == "executes":
    children.append(subprocess.Popen(["cat"], stdin=read, close_fds=False).pid)
    print(-1, flush=True)
# A standby, a prepared process, a clone and another worker.
more = [workers.make().ready(10), workers.make()]
more += [more[0].fork().ready(10), workers.make()]
other = more[1].run(work.hold, linked=True)
assert other.recv(1) == b"!"
support.wait_until(lambda: holders(worker._watch.line) == {os.getpid(), workers.forker()})
workers.kill_template()
assert holders(worker._watch.line) == {os.getpid()}
print(json.dumps([worker.pid, children]), flush=True)
sys.stdin.readline()
