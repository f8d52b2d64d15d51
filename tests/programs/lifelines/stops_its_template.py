"""Stops its template, makes processes, and lets it go on."""

import earlyfork
import contextlib
import os
import signal
import support
import work

earlyfork.new().ready(10).close()
template = earlyfork.status().templates[0].pid
os.kill(template, signal.SIGSTOP)
support.wait_until(lambda: support.state(template) == "T")
made = [earlyfork.new().send_arg(n) for n in range(8)]
socks = [process.run(work.echo) for process in made]
with contextlib.suppress(TimeoutError):
    made[-1].wait(0.05)
os.kill(template, signal.SIGCONT)
assert [work.got(sock) for sock in socks] == [(n,) for n in range(8)]
assert [process.wait(10) for process in made] == [0] * 8
