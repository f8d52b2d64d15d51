"""Leads a session with a controlling terminal, as a shell does: keeps PROGRAM in the foreground.

Says when that is stopped, lets it go on when told, and gives its exit status.
"""

import fcntl
import os
import signal
import sys
import termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
report = int(os.environ["REPORT"])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.write(report, b"stopped %d\n" % pid)
    os.read(int(os.environ["GO_ON"]), 1)
    os.killpg(pid, signal.SIGCONT)
os.write(report, b"ended %d\n" % os.waitstatus_to_exitcode(status))
