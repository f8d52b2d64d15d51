"""Has files and listening sockets open, which a worker of its snapshot uses."""

import earlyfork  # noqa: F401 - the first line
import os
import socket

file = open("data", "w+")
file.write("before ")
file.flush()
directory = os.open(".", os.O_RDONLY)
null = open(os.devnull)
server = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind("listening")
unix.listen()


def use(sock):
    file.write("by the worker")
    file.flush()
    os.stat("data", dir_fd=directory)
    assert null.read() == ""
    for listening in (server, unix):
        connection, _ = listening.accept()
        connection.sendall(b"served")
        connection.close()
    sock.close()


from earlyfork.template import TEMPLATE

process = TEMPLATE.fork()
sock = process.run(use)
with socket.create_connection(server.getsockname()) as client:
    assert client.recv(100) == b"served"
with socket.socket(socket.AF_UNIX) as client:
    client.connect("listening")
    assert client.recv(100) == b"served"
assert process.wait(10) == 0
assert open("data").read() == "before by the worker"
