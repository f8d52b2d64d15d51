"""What the programs here share: workers of one template, which can be killed, and who holds what."""

import os
import signal

import earlyfork
import support


class Workers:
    """The workers of one kind of template: its ORIGIN, and what takes a snapshot if it is one."""

    def __init__(self, origin="early", snapshot=None):
        self.template = None
        if origin == "prepared":
            self.template = earlyfork.new().ready(10)
        elif origin == "snapshot":  # only the main program itself may take one
            self.template = snapshot()

    def make(self):
        """A process that can run the functions of `work`."""
        return (self.template.fork() if self.template else earlyfork.new()).require("work")

    def forker(self):
        """The pid of the template."""
        return self.template.pid if self.template else earlyfork.status().templates[0].pid

    def kill_template(self):
        pid = self.forker()
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)


def holders(fd):
    """The processes of this session that have the very same end of a socket."""
    found, name = set(), os.readlink(f"/proc/self/fd/{fd}")
    for pid in support.session(os.getsid(0)):
        if name in support.open_fds(pid).values():
            found.add(pid)
    return found


def fds(pid="self"):
    """How many fds a process has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def files():
    """What this process has open."""
    return set(support.open_fds().values())
