"""Sent to the workers of says_anything.py: they write to the socket that leads up."""

import contextlib  # noqa: F401 - without rights it can't be loaded later
import earlyfork._origin.new
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
    if kind == "pidfd of pid 1":
        return os.pidfd_open(1)
    if kind == "socket":
        return socket.socketpair()[1].detach()
    raise LookupError(kind)


def say(message, kinds):
    """One message on this process's way up."""
    from earlyfork._child.here import here

    fds = [made(kind) for kind in kinds]
    with socket.socket(fileno=os.dup(here.up)) as way_up:
        try:
            if fds:
                socket.send_fds(way_up, [message], fds)
            else:
                way_up.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            for fd in fds:
                os.close(fd)


def says(sock, messages):
    for message, kinds in messages:
        say(message, kinds)
    sock.sendall(b"!")
    sock.recv(1)


def says_until_refused(sock, messages):
    for message, kinds in messages:
        say(message, kinds)
    try:
        while True:
            earlyfork.sibling().close()
    except earlyfork.TemplateDied:
        sock.sendall(b"!")
    sock.recv(1)
