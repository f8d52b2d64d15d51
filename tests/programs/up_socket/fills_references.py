"""Has a worker use up what its user may have of files under way: standbys come again after that."""

import earlyfork
import support
import work

NOBODY = """
import os, pickle, resource, socket
import earlyfork._child.here, encodings.idna
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
os.setgroups([])
own = 100_000 + os.getpid() % 100_000  # nobody else is this one
os.setgid(own)
os.setuid(own)

def fills(sock):
    near, far = socket.socketpair()
    near.setblocking(False)
    try:
        while True:
            socket.send_fds(near, [b"x"], [far.fileno()] * 50)
    except OSError:
        sock.sendall(b"!")
    sock.recv(1)
"""
template = earlyfork.new().require("work").eval(NOBODY).ready(10)


def standbys():
    return [
        pid for pid in support.children(template.pid) if pid not in taken and support.alive(pid)
    ]


def echoes():
    process = template.fork()
    taken.add(process.pid)
    assert work.got(process.run(work.echo)) == ()
    assert process.wait(10) == 0


taken = set()
echoes()
support.wait_until(lambda: len(standbys()) >= 2)
worker = template.fork()
taken.add(worker.pid)
sock = worker.run("fills")
assert sock.recv(1) == b"!"
# Those that wait are used up; others can't be handed to this process now.
support.wait_until(lambda: (echoes(), not standbys())[1])
sock.close()
assert worker.wait(10) == 0


def come_again():
    """The kernel counts what was under way for a moment longer. Each request is a new try."""
    echoes()
    try:
        support.wait_until(lambda: len(standbys()) >= 2, 1)
    except AssertionError:
        return False
    return True


support.wait_until(come_again)
