"""Each party is killed after each byte of a session: nobody hangs, and nobody stays behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run

THOROUGH = "EARLYFORK_FAULTS" in os.environ

#: A session of all kinds of batches, written by hand up to a byte.
SESSION = """
import earlyfork
import _socket, json, os, signal, socket, support, sys, warnings, work
from earlyfork import _wire as wire
from earlyfork._children import rights

warnings.simplefilter("ignore", earlyfork.EarlyForkWarning)
FRAMES = [
    ([wire.frame(wire.REQUIRE, b"work")], 0, b""),
    ([wire.frame(wire.FD, b"fd"), wire.frame(wire.ARG_STR, b"text")], 1, b""),
    ([wire.frame(wire.ARG_BYTES)], 0, bytes(300)),
    ([wire.frame(wire.EVAL, wire.pack_values(("<f>", "def f(sock, *_): sock.recv(1)")))], 0, b""),
    ([wire.frame(wire.FORK, b"0")], 2, b""),
    ([wire.frame(wire.READY, b"1")], 0, b""),
    ([wire.frame(wire.RUN, b"-f")], 0, b""),
]
BATCHES = [(wire.batch(b"".join(f), n, len(bulk)) + bulk, n) for f, n, bulk in FRAMES]
TOTAL = sum(len(data) for data, _ in BATCHES)
ENDS = [sum(len(data) for data, _ in BATCHES[:n]) for n in range(len(BATCHES) + 1)]

def write(process, size):
    "The first `size` bytes of the session; the near ends of what was forked in it."
    near, sock = [], process._socket()
    for data, count in BATCHES:
        part, size = data[:size], max(0, size - len(data))
        if not part:
            break
        fds, pairs = [], []
        if count == 1:
            fds = [0]
        elif count == 2:
            pairs = [socket.socketpair() for _ in range(2)]
            fds = [far.fileno() for _, far in pairs]
            near += [close for close, _ in pairs]
        try:
            sent = sock.sendmsg([part], rights(fds) if fds else [], wire_flags)
            if sent < len(part):
                sock.sendall(part[sent:])
        except (BrokenPipeError, ConnectionResetError):
            return near
        finally:
            for _, far in pairs:
                far.close()
    return near

wire_flags = socket.MSG_NOSIGNAL

def good():
    process = earlyfork.new()
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)
    assert process.wait(10) == 0

def sizes(step):
    near = {end + d for end in ENDS for d in (-1, 0, 1, 16, 21) if 0 <= end + d <= TOTAL}
    return sorted(near | set(range(0, TOTAL + 1, step)))

def left():
    templates = {entry.pid for entry in earlyfork.status().templates}
    return {
        pid: name
        for pid, name in support.session(os.getsid(0)).items()
        if pid != os.getpid() and pid not in templates and name != "ef-standby"
    }

def fds():
    return len(os.listdir("/proc/self/fd"))

good(), good(), good()
support.wait_until(lambda: not left())
before = fds()
count = 0
for size in sizes(int(sys.argv[1])):
    {round}
    count += 1
    if count % 20 == 0:
        good()
process = near = None
good()
support.wait_until(lambda: not left())
support.wait_until(lambda: fds() <= before)
try:
    raise AssertionError("a child: %r" % (os.wait(),))
except ChildProcessError:
    pass
print("sessions:", count)
"""

ROUNDS = {
    # The owner's end is closed, as by the kernel when the owner dies.
    "owner's end closed": """
    process = earlyfork.new()
    near = write(process, size)
    process._release()
    for end in near:
        end.close()
    # 1 if it was in the middle of code that was sent: that is not waited for.
    assert process.wait(10) in (0, 1), (size, process)
    """,
    "owner killed": """
    process = earlyfork.new()
    pid = os.fork()
    if not pid:
        try:
            mine = earlyfork.new()
            near = write(mine, size)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, size
    process.close()
    support.wait_until(lambda: not left())
    """,
    "worker killed": """
    process = earlyfork.new()
    pid = process.pid
    near = write(process, size)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL, (size, process)
    assert support.readable_within(process.sentinel, 5)
    try:
        process.ready(10)
    except (earlyfork.EarlyForkError, OSError) as error:
        assert not isinstance(error, TimeoutError), (size, error)
    else:
        raise AssertionError(size)
    process.close()
    for end in near:
        end.close()
    assert support.gone_within(pid)
    """,
    "worker killed before": """
    process = earlyfork.new()
    process.kill()
    near = write(process, size)
    assert process.wait(10) == -signal.SIGKILL, (size, process)
    process.close()
    for end in near:
        end.close()
    """,
    "template killed": """
    good()
    template = earlyfork.status().templates[0].pid
    process = earlyfork.new()
    pid = process.pid
    near = write(process, size)
    os.kill(template, signal.SIGKILL)
    try:
        process.wait(10)
    except earlyfork.ProcessLost as error:
        assert error.pid == pid
    else:
        raise AssertionError((size, "a status was invented"))
    process.close()
    for end in near:
        end.close()
    assert support.gone_within(pid), (size, support.describe(pid))
    assert support.gone_within(template)
    good()
    """,
    "standbys killed": """
    good()
    support.wait_until(lambda: "ef-standby" in support.session(os.getsid(0)).values())
    for pid, name in support.session(os.getsid(0)).items():
        if name == "ef-standby":
            os.kill(pid, signal.SIGKILL)
    for _ in range(4):  # whoever is given a dead one hears how it ended
        process = earlyfork.new()
        near = write(process, size)
        process._release()
        for end in near:
            end.close()
        assert process.wait(10) in (0, 1, -signal.SIGKILL), (size, process)
    """,
}
#: Every so many bytes, beside those at and around the ends of frames.
STEPS = {"owner killed": 61, "template killed": 400, "standbys killed": 97}


def lines(text: str, indent: str) -> str:
    found = [line.removeprefix("    ") for line in text.strip("\n").splitlines()]
    return "\n".join(found).replace("\n", "\n" + indent).strip()


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize("who", ROUNDS)
def test_killed_after_each_byte(run_script: Run, who: str) -> None:
    step = 1 if THOROUGH else STEPS.get(who, 7)
    if THOROUGH and who == "template killed":
        step = 25  # each costs the launch of an interpreter
    program = SESSION.replace("{round}", lines(ROUNDS[who], "    "))
    done = run_script(program, str(step), check=True, env=support.with_work(), timeout=270)
    print(done.stdout)
    if who != "template killed":  # whose processes say where they can
        assert done.stderr == ""
