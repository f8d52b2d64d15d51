"""What is written for those who look from outside, at its limits. Prints "all well"."""

import earlyfork
import fcntl
import os
import resource
import socket
import subprocess
import sys
import time

from earlyfork import rpc
from earlyfork.rpc import _board
from earlyfork.top import _calls, _proc


def mine():
    return _calls.of(os.getpid(), _proc.links(os.getpid()) or {}, time.monotonic())


def no_fd_to_be_had():
    """A client that nobody can see works all the same."""
    held = [os.dup(0)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, hard))
    place = _board.Place(sys.stdin, 1)
    assert place.words[_board.WHO] == os.fstat(0).st_ino
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in held:
        os.close(fd)
    assert mine() == []


def sealed_and_closed_on_exec():
    client = rpc.Client(earlyfork.new(), visible=True)
    client.call("operator.add", 1, 2)
    (path,) = _calls.boards(os.getpid(), _proc.links(os.getpid()))
    fd = int(path.rpartition("/")[2])
    assert not os.get_inheritable(fd)
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    try:
        os.ftruncate(fd, 0)
    except PermissionError:
        assert os.fstat(fd).st_size == _board.SIZE
    else:
        raise AssertionError("it was not sealed")
    listed = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], check=True, capture_output=True, text=True
    )
    assert _board.NAME not in listed.stdout
    client.close()
    client.join()


def records_are_given_back():
    ends = socket.socketpair()
    places = [_board.Place(ends[0], 1) for _ in range(_board.RECORDS + 10)]
    assert len(mine()) == _board.RECORDS - 1
    places[0].words[_board.SEQUENCE] += 1  # in the middle of writing
    assert len(mine()) == _board.RECORDS - 2
    places.clear()
    assert mine() == []
    again = _board.Place(ends[0], 1)
    assert len(mine()) == 1
    del again


def names():
    client = rpc.Client(earlyfork.new(), visible=True)
    client.call("operator.add", 1, 2)
    state = client._session
    for text in ("\x1b[31mred", "x" * 100):
        call = rpc.Call(client)
        call.function = text
        state.calls = {state.last + 1: call}
        state.last += 1
        state.place.show(state)
        (found,) = mine()
        assert found.runs.isprintable() and len(found.runs) < _board.LABEL, found
        assert found.runs[-3:] == text[-3:]
        assert found.open == 1 and found.seconds is not None
    state.calls = {}
    client.kill()
    client.join()


def a_fork_has_its_own():
    client = rpc.Client(earlyfork.new(), visible=True)
    client.call("operator.add", 1, 2)
    assert len(mine()) == 1
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        inherited = mine()
        other = rpc.Client(earlyfork.new(), visible=True)
        other.call("operator.add", 1, 2)
        other.submit("operator.add", 1, 2)
        far.send(f"{len(inherited)} {len(mine())}".encode())
        os._exit(0)
    assert near.recv(100) == b"0 1"
    os.waitpid(pid, 0)
    assert len(mine()) == 1
    client.close()
    client.join()


no_fd_to_be_had()
sealed_and_closed_on_exec()
records_are_given_back()
names()
a_fork_has_its_own()
print("all well")
