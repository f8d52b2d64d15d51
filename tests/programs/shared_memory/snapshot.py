"""Workers of a snapshot attach to the program's shared memory, and end well and badly."""

import earlyfork
import os
import signal
from multiprocessing.shared_memory import SharedMemory

memory = SharedMemory(create=True, size=16)


def attach(sock, name):
    there = SharedMemory(name)
    there.buf[0] += 1
    there.close()


def attach_and_wait(sock, name):
    there = SharedMemory(name)
    sock.sendall(b"+")
    sock.recv(1)
    there.close()


def make_own(sock, _name):
    own = SharedMemory(create=True, size=16)
    own.close()
    own.unlink()


from earlyfork.template import TEMPLATE

assert earlyfork.status().inherited == (), earlyfork.status()
for function in (attach, attach, make_own):
    worker = TEMPLATE.fork().send_arg(memory.name)
    worker.run(function).close()
    assert worker.wait(10) == 0
worker = TEMPLATE.fork().send_arg(memory.name)
with worker.run(attach_and_wait) as sock:
    assert sock.recv(1) == b"+"
    worker.kill()
    assert worker.wait(10) == -signal.SIGKILL
assert memory.buf[0] == 2
assert os.path.exists(f"/dev/shm/{memory.name}")
memory.close()
memory.unlink()
