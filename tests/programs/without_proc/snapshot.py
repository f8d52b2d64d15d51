"""Takes a snapshot, and another one beside a thread."""

import earlyfork
import os
import socket
import threading
import work

near, far = socket.socketpair()
file = open("kept", "w+")


def look(sock):
    with socket.socket(fileno=far.fileno()) as dead:
        work.give(sock, (dead.recv(1), os.fstat(file.fileno()).st_ino))


from earlyfork.template import TEMPLATE, snapshot

process = TEMPLATE.fork()
assert work.got(process.run(look)) == (b"", os.fstat(file.fileno()).st_ino)
assert process.wait(10) == 0
told = "\n".join(earlyfork.status().inherited)
assert f"{near.fileno()} (socket), {far.fileno()} (socket)" in told, told
go = threading.Event()
thread = threading.Thread(target=go.wait, name="poller")
thread.start()
try:
    snapshot()
except earlyfork.TemplateError as error:
    print(error)
go.set()
thread.join()
