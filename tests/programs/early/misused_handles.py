"""Asks of handles what they can't do."""

import earlyfork
import os
import socket
from earlyfork.template import TEMPLATE


def refused(kind, text, function, *args, **options):
    try:
        function(*args, **options)
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)


TEMPLATE.ready(10)  # a root answers for itself
refused(earlyfork.ProcessStateError, "never runs anything", TEMPLATE.run, "print")
refused(earlyfork.ProcessStateError, "fork() it first", TEMPLATE.to_fh)
refused(TypeError, "not int", earlyfork.new_from_fh, 7)
refused(TypeError, "maps str to str", earlyfork.new, env=["A=1"])
closed = socket.socket()
closed.close()
refused(ValueError, "closed socket", earlyfork.new_from_fh, closed)
with socket.socket() as other:
    refused(ValueError, "takes the socket that to_fh() gave", earlyfork.new_from_fh, other)
before = len(os.listdir("/proc/self/fd"))
refused(earlyfork.LaunchError, "/no/such", earlyfork.new_exec, executable="/no/such", cwd="/")
assert len(os.listdir("/proc/self/fd")) == before


def shadowed():
    pass


def main_function(sock):
    pass


first, shadowed = shadowed, None
refused(ValueError, "would find another", TEMPLATE.fork().run, first)
refused(ValueError, "does not contain", earlyfork.new().run, main_function)
import work

process, linked = earlyfork.new(), earlyfork.new()
sock = linked.run(work.hold, linked=True)
if not (child := os.fork()):
    del linked  # the parent's: nothing happens
    refused(earlyfork.ProcessStateError, "only that one can watch it", lambda: process.error)
    refused(earlyfork.ProcessStateError, "", lambda: process.pid)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert linked.poll() is None
TEMPLATE.eval("raise LookupError('in a template')")
refused(earlyfork.RemoteError, "in a template", TEMPLATE.ready, 10)
print("all refused")
