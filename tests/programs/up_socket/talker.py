"""Sent to the worker of says_anything.py that writes to the socket which leads up."""

import os
import socket


def made(kind):
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    if kind == "read-only":
        return os.open(os.devnull, os.O_RDONLY)
    if kind == "stuck pipe":  # writing there would wait for ever
        kept, fd = os.pipe()
        os.set_blocking(fd, False)
        try:
            while True:
                os.write(fd, bytes(4096))
        except BlockingIOError:
            os.set_blocking(fd, True)
            globals().setdefault("kept", []).append(kept)
            return fd
    if kind == "socket":
        return socket.socketpair()[1].detach()
    raise LookupError(kind)


def says(sock, messages):
    from earlyfork._child.here import here

    for message, kinds in messages:
        fds = [made(kind) for kind in kinds]
        if fds:
            socket.send_fds(here.up, [message], fds)
        else:
            here.up.send(message)
        for fd in fds:
            os.close(fd)
    sock.sendall(b"!")
    sock.recv(1)
