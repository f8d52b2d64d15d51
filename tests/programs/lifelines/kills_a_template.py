"""Kills the template of three workers: `prepared`, or the default one."""

import earlyfork
import contextlib
import os
import signal
import support
import sys
import warnings
import work

prepared = sys.argv[1] == "prepared"
template = earlyfork.new().require("work").ready(10)
workers = [template.fork() if prepared else earlyfork.new() for _ in range(3)]
socks = [worker.run(work.hold) for worker in workers]
assert all(sock.recv(1) == b"!" for sock in socks)
another = template.fork() if prepared else earlyfork.new()
pids = [worker.pid for worker in workers]
pid = template.pid if prepared else earlyfork.status().templates[0].pid
os.kill(pid, signal.SIGKILL)
assert support.gone_within(pid)
for worker in workers:
    for ask in (worker.wait, worker.poll):
        try:
            ask()
        except earlyfork.ProcessLost as error:
            assert error.pid == worker.pid and str(worker.pid) in str(error)
        else:
            raise AssertionError("a status was invented")
    assert worker.returncode is None and support.alive(worker.pid)
    assert support.readable_within(worker.sentinel, 5)
with contextlib.suppress(earlyfork.EarlyForkError):
    another.ready(10)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
for sock in socks:
    sock.sendall(b"they still read")
    sock.close()
for pid in pids:
    assert support.gone_within(pid)
