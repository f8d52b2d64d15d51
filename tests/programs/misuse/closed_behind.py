"""All fds are closed, and others take their numbers; then handles from before are used and dropped."""

import earlyfork
import gc
import os
import socket
import warnings

warnings.simplefilter("ignore", earlyfork.EarlyForkWarning)  # the default template is replaced
template = earlyfork.new().eval("def hold(sock): sock.recv(1)").ready(10)
template.fork()
process = template.fork().send_fh(0)
worker = template.fork()
sock = worker.run("hold")
fd = worker.sentinel
sock.detach()
os.closerange(3, 1000)
pairs = [socket.socketpair() for _ in range(20)]
for pair in pairs:
    for end in pair:
        end.send(b"mine")
for use in (template.fork, process.ready, worker.poll, worker.wait):
    try:
        use()
    except earlyfork.ProcessStateError as error:
        assert "closed behind" in str(error), error
    else:
        raise AssertionError(use)
assert earlyfork.new().run("builtins.id").recv(1) == b""
process.close()
del template, worker, process, use
gc.collect()
for pair in pairs:
    for end in pair:
        assert end.recv(100) == b"mine"
