"""Has a linked worker that has one itself; kills the template first, and then the outer one."""

import earlyfork  # noqa: F401 - by the main program itself
import os
import signal
import support
import sys
import work
from programs.second_line.kit import Workers


def snapshot():
    import earlyfork.template

    return earlyfork.template.snapshot()


workers = Workers(sys.argv[1], snapshot)
outer = workers.make()
sock = outer.run(work.owns, linked=True)
inner = int(sock.recv(100))
pid = outer.pid
workers.kill_template()
sock.sendall(b"?")
assert sock.recv(1) == b"!"  # the inner one answered the outer one
os.kill(pid, signal.SIGKILL)
assert support.gone_within(inner, 5), support.describe(inner)
