"""Talks to linked workers after their template was killed, whatever became of the handles."""

import earlyfork
import gc
import os
import support
import sys
import warnings
import work
from programs.second_line.kit import Workers, files

end = sys.argv[2]


def snapshot():
    import earlyfork.template

    return earlyfork.template.snapshot()


workers = Workers(sys.argv[1], snapshot)
made = [workers.make() for _ in range(8)]
socks = [worker.run(work.echo_stream, linked=True) for worker in made]


def all_answer():
    for sock in socks:
        sock.sendall(b"are you there?")
    return all(sock.recv(100) == b"are you there?" for sock in socks)


assert all_answer()
pids = [worker.pid for worker in made]
lines = {os.readlink(f"/proc/self/fd/{worker._watch.line}") for worker in made}
assert len(lines) == 8
workers.kill_template()
assert all_answer()
if end == "closed":
    for worker in made:
        worker.close()
if end != "held":
    worker = made = None
gc.collect()
earlyfork.status()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    other = earlyfork.new()  # from a new template
sock = other.run(work.hold, linked=True)  # looks after those without a handle, too
assert sock.recv(1) == b"!"
assert all_answer()
sock.close()
assert other.wait(10) == 0
for sock in socks:
    sock.close()
for pid in pids:
    assert support.gone_within(pid)
if end == "held":
    for worker in made:
        worker.close()


def ours():
    earlyfork.status()
    return files()


support.wait_until(lambda: not lines & ours())
