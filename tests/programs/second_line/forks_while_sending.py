"""Forks at a STEP of run(), linked or not, as another thread might: nothing is inherited."""

import earlyfork  # noqa: F401 - by the main program itself
import os
import sys
import work
from programs.second_line.kit import Workers, files

workers = Workers()
worker = workers.make().ready(10)
known = files()
with open("sent", "w") as file:
    worker.send_fh(file)
kind, step = type(worker), sys.argv[1]
real = getattr(kind, step)


def forks_first(self, *args):
    setattr(kind, step, real)
    if not (pid := os.fork()):
        os._exit(bool(files() - known))
    assert os.waitpid(pid, 0)[1] == 0
    return real(self, *args)


setattr(kind, step, forks_first)
sock = worker.run(work.hold, linked=sys.argv[2] == "linked")
assert getattr(kind, step) is real
assert sock.recv(1) == b"!"
sock.close()
assert worker.wait(10) == 0
