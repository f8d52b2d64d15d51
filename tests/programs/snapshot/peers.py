"""Has peers of every kind, which see the end of it though a snapshot lives."""

import earlyfork  # noqa: F401 - the first line
import os
import socket
import support

reader, writer = os.pipe()
near, far = socket.socketpair()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
accepted, _ = server.accept()
master, slave = os.openpty()
from earlyfork.template import TEMPLATE, snapshot

standing = TEMPLATE.fork().ready(10)
os.close(writer)
near.close()
accepted.close()
for fd in (reader, far.fileno(), client.fileno()):
    assert support.eof_within(fd, 5), fd
# The other way too: writing to what nobody reads is an error.
reader, writer = os.pipe()
second = snapshot()
second.fork().ready(10)
os.close(reader)
try:
    os.write(writer, b"x")
except BrokenPipeError:
    pass
else:
    raise AssertionError("the snapshot reads this pipe")
