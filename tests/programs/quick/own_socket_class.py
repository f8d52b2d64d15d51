"""Has a socket class that is no subclass of the stdlib's, as gevent has."""

import _socket
import socket


class Own:
    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):  # noqa: A002 - as the stdlib's
        self.sock = _socket.socket(family, type, proto, fileno)

    def __getattr__(self, name):
        return getattr(self.sock, name)


import earlyfork
import work

socket.socket = Own
for _ in range(4):
    sock = earlyfork.new().eval("import socket; socket.socket.mark = 1").run(work.pid)
    assert type(sock) is Own
    assert sock.recv(100)
    sock.close()
