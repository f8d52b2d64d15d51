"""Has objects of all kinds, which a worker of its snapshot closes or collects."""

import earlyfork
import gc
import os
import socket
import work

pairs = [socket.socketpair() for _ in range(10)]
reader, writer = os.pipe()
stream = os.fdopen(writer, "w")
stream.write("buffered, and only to be written once")
other = earlyfork.new().ready(10)
running = earlyfork.new()
held = running.run(work.hold)
assert held.recv(1) == b"!"


def use(sock, *files):
    mine = [open(f"mine-{n}", "w") for n in range(30)]
    theirs = {f.fileno(): os.fstat(f.fileno()).st_ino for f in (*mine, *files, sock)}
    global pairs, other, running, held
    for near, _ in pairs:
        near.close()
    del pairs, other, running, held
    gc.collect()
    assert {fd: os.fstat(fd).st_ino for fd in theirs} == theirs
    work.give(sock, "whole")


from earlyfork.template import TEMPLATE

process = TEMPLATE.fork().send_fh(open("sent", "w"))
assert work.got(process.run(use)) == "whole"
assert process.wait(10) == 0
# Nothing of the program's was hit either.
pairs[0][0].sendall(b"open")
assert pairs[0][1].recv(10) == b"open"
other.eval("pass").ready(10)
assert running.poll() is None
held.close()
assert running.wait(10) == 0
stream.close()
assert os.read(reader, 1000) == b"buffered, and only to be written once"
