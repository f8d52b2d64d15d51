"""Is interrupted when it runs a linked worker, which can be tried again, or dropped."""

import earlyfork  # noqa: F401 - by the main program itself
import contextlib
import gc
import work
from programs.second_line.kit import Workers, fds

workers = Workers()


def interrupted(self, *_):
    raise KeyboardInterrupt


for _ in range(2):  # what is made once is there
    workers.make().ready(10).close()
before = fds()
worker = workers.make().ready(10)
ours = fds()
send, type(worker)._send = type(worker)._send, interrupted
for _ in range(3):
    try:
        worker.run(work.hold, linked=True)
    except KeyboardInterrupt:
        assert fds() == ours
    else:
        raise AssertionError("nothing was sent")
type(worker)._send = send
sock = worker.run(work.hold, linked=True)
assert sock.recv(1) == b"!"
sock.close()
assert worker.wait(10) == 0
worker = workers.make().ready(10)
assert fds() == ours
type(worker)._send = interrupted
with contextlib.suppress(KeyboardInterrupt):
    worker.run(work.hold, linked=True)
del worker
gc.collect()
assert fds() == before
