"""Kills WHO after each STEPth byte of a SESSION of batches, written by hand: killed.py SESSION WHO STEP.

The sessions: "run", with all kinds of batches; "exec", a new process becomes a command, in C;
"prepared", in Python; "command", a root template executes one.
"""

import earlyfork
import os
import signal
import socket
import subprocess
import support
import sys
import warnings
import work
from earlyfork import command
from earlyfork._origin import default
from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import rights

warnings.simplefilter("ignore", earlyfork.EarlyForkWarning)
CAT = payloads.Command(b"cat", [b"cat"], env=[b"PATH=" + os.defpath.encode()], streams=b"f--")
PREPARED = payloads.Command(
    b"cat",
    [b"cat"],
    streams=b"f--",
    link=payloads.LINKED,
    prepare=payloads.pack_values(("work.returns", (None,))),
)
SESSIONS = {
    "exec": [([wire.frame(wire.EXEC, payloads.pack_exec(CAT))], 1, b"")],
    "prepared": [
        ([wire.frame(wire.REQUIRE, b"work")], 0, b""),
        ([wire.frame(wire.EXEC, payloads.pack_exec(PREPARED))], 1, b""),
    ],
    "command": [([wire.frame(wire.SPAWN, payloads.pack_exec(CAT))], 2, b"")],
}
SESSIONS["run"] = [
    ([wire.frame(wire.REQUIRE, b"work")], 0, b""),
    ([wire.frame(wire.FD, b"fd"), wire.frame(wire.ARG_STR, b"text")], 1, b""),
    ([wire.frame(wire.ARG_BYTES)], 0, bytes(300)),
    (
        [wire.frame(wire.EVAL, payloads.pack_values(("<f>", "def f(sock, *_): sock.recv(1)")))],
        0,
        b"",
    ),
    ([wire.frame(wire.FORK, b"0")], 2, b""),
    ([wire.frame(wire.READY, b"1")], 0, b""),
    ([wire.frame(wire.RUN, b"-f")], 0, b""),
]
SESSION, who, step = sys.argv[1:4]
BATCHES = [(wire.batch(b"".join(f), n, len(bulk)) + bulk, n) for f, n, bulk in SESSIONS[SESSION]]
TOTAL = sum(len(data) for data, _ in BATCHES)
ENDS = [sum(len(data) for data, _ in BATCHES[:n]) for n in range(len(BATCHES) + 1)]


def write(process, size):
    """The first `size` bytes of the session; the near ends of the fds that went with it."""
    near, sock = [], socket.socket(fileno=os.dup(process._comm))
    for data, count in BATCHES:
        part, size = data[:size], max(0, size - len(data))
        if not part:
            break
        pairs = [socket.socketpair() for _ in range(count)]
        fds = [far.fileno() for _, far in pairs]
        near += [close for close, _ in pairs]
        try:
            sent = sock.sendmsg([part], rights(fds) if fds else [], socket.MSG_NOSIGNAL)
            if sent < len(part):
                sock.sendall(part[sent:])
        except (BrokenPipeError, ConnectionResetError):
            break
        finally:
            for _, far in pairs:
                far.close()
    sock.close()
    return near


def good():
    process = earlyfork.new()
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)
    assert process.wait(10) == 0


def sizes(step):
    near = {end + d for end in ENDS for d in (-1, 0, 1, 16, 21) if 0 <= end + d <= TOTAL}
    return sorted(near | set(range(0, TOTAL + 1, step)))


def left():
    return support.left_in_session([entry.pid for entry in earlyfork.status().templates])


def fds():
    return len(os.listdir("/proc/self/fd"))


def owners_end_closed(size):
    """The owner's end is closed, as by the kernel when the owner dies."""
    process = earlyfork.new()
    near = write(process, size)
    process._release()
    for end in near:
        end.close()
    # 1 if it was in the middle of code that was sent: that is not waited for.
    assert process.wait(10) in (0, 1), (size, process)


def owner_killed(size):
    process = earlyfork.new()
    pid = os.fork()
    if not pid:
        try:
            mine = earlyfork.new()
            near = write(mine, size)  # noqa: F841 - held until it is killed
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, size
    process.close()
    support.wait_until(lambda: not left())


def worker_killed(size):
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


def worker_killed_before(size):
    process = earlyfork.new()
    process.kill()
    near = write(process, size)
    assert process.wait(10) == -signal.SIGKILL, (size, process)
    process.close()
    for end in near:
        end.close()


def template_killed(size):
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


def standbys_killed(size):
    good()
    support.wait_for_standby()
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


def main_killed(size):
    """The whole program is killed that has a template execute a command."""
    argv = [sys.executable, __file__, SESSION, "dies", str(size)]
    done = subprocess.run(argv, check=False)
    assert done.returncode == -signal.SIGKILL, (size, done)
    support.wait_until(lambda: not left())


def template_killed_in_command(size):
    good()
    root = default.default_template()
    template = earlyfork.status().templates[0].pid
    near = write(root, size)
    os.kill(template, signal.SIGKILL)
    assert support.gone_within(template)
    if near:  # who waits there is told
        near[0].settimeout(10)
        while near[0].recv(100):
            pass
    for end in near:
        end.close()
    support.wait_until(lambda: not left())
    good()
    assert command.run(["true"]).returncode == 0


ROUNDS = {
    "main killed": main_killed,
    "template killed in command": template_killed_in_command,
    "owner's end closed": owners_end_closed,
    "owner killed": owner_killed,
    "worker killed": worker_killed,
    "worker killed before": worker_killed_before,
    "template killed": template_killed,
    "standbys killed": standbys_killed,
}


if who == "dies":
    good()
    near = write(default.default_template(), int(step))
    os.kill(os.getpid(), signal.SIGKILL)
good(), good(), good()
support.wait_until(lambda: not left())
before = fds()
count = 0
for size in sizes(int(step)):
    ROUNDS[who](size)
    count += 1
    if count % 20 == 0:
        good()
good()
support.wait_until(lambda: not left())
support.wait_until(lambda: fds() <= before)
try:
    raise AssertionError(f"a child: {os.wait()}")
except ChildProcessError:
    pass
print("sessions:", count)
