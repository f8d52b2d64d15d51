"""Has workers that send KIND of messages up to their FORKER: all goes on as before, without them."""

import earlyfork
import os
import support
import sys
import warnings
import work
from earlyfork._child import hearing
from earlyfork._shared import wire
from earlyfork._shared.payloads import UP_HEAD

warnings.simplefilter("error")

kind, forker = sys.argv[1:]


def up(op, payload=b"", pid=1):
    return UP_HEAD.pack(op, pid) + payload


OWN = {*hearing.HEARD}
NO_SOCKETS = ["full", "read-only", "stuck pipe"]
#: Lists of what one worker says, message by message.
SAID = {
    "empty": [[(b"", [])] * 3],
    "short": [[(b"x" * n, kinds)] for n in range(1, UP_HEAD.size) for kinds in ([], ["full"] * 3)],
    "long": [[(up(wire.ERROR, bytes(70_000)), [])]],
    "unknown": [
        [(up(op, b"x" * n), ["full"] * count)]
        for op in (0, 60, wire.PID, wire.EXIT, 95, 102, 255)
        for n, count in ((0, 0), (9, 1), (0, 2))
    ],
    "fds missing": [[(up(op), [])] for op in (wire.NEW, wire.SIBLING, wire.ADOPT)],
    "fds too many": [[(up(op, b"0"), ["full"] * 5)] for op in OWN - {wire.ERROR}],
    # What no process says of itself while it runs something.
    "too late": [
        [(up(wire.IS_READY, b"1"), [])],
        [(up(wire.PARK), []), (up(wire.ADOPT), ["socket"])],
        [(up(wire.LINK, b"S"), ["socket", "pidfd of pid 1"])],
        [(up(wire.LINK), ["pidfd of pid 1"])],
        [(up(wire.FULL), [])],
        [(up(wire.UNREHEARSED), [])],
        [(up(wire.RUNS), [])],
    ],
    "READY garbage": [[(up(wire.IS_READY, p), [])] for p in (b"", b"-1", b"\xff", b"9" * 5000)],
    "ERROR garbage": [[(up(wire.ERROR, p), [])] for p in (b"", b"x", b"\xff\0", b"a\0" * 9)],
    "many errors": [[(up(wire.ERROR, b"x"), [])] * 9],
    "no socket to answer at": [
        [(up(op), [kind] * count)]
        for op, count in ((wire.ADOPT, 1), (wire.NEW, 2), (wire.SIBLING, 2))
        for kind in NO_SOCKETS
    ],
    "many fds": [[(up(99), ["full"] * 200)], [(up(wire.ADOPT), ["full"] * 200)]],
}
#: What is no misuse: who says it is heard again.
HARMLESS = {"ERROR garbage"}


def good(make):
    """Everything that depends on being heard there."""
    process = make().ready(10)
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)
    assert process.wait(10) == 0
    failing = make().eval("import sys; sys.stderr = None; raise LookupError('on purpose')")
    try:
        failing.ready(10)
    except earlyfork.RemoteError as error:
        assert "on purpose" in str(error)
    else:
        raise AssertionError("no error came back")
    process = make().send_arg(2)
    assert len(work.got(process.run(work.nested))) == 3
    assert process.wait(10) == 0


def fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


make = earlyfork.new
support.wait_until(lambda: earlyfork.status().templates[0].pid)
pid = earlyfork.status().templates[0].pid
if forker == "prepared":
    template = earlyfork.new().ready(10)
    make, pid = template.fork, template.pid
good(make)
bystander = make()
held = bystander.run(work.hold)
assert held.recv(1) == b"!"
TALKER = support.program("up_socket/talker.py")
before = None
for messages in (SAID[kind][0], *SAID[kind]):
    talker = make().eval(TALKER).send_arg(messages)
    if forker == "dropped rights":
        talker.eval("import os; os.setgid(65534); os.setuid(65534)")
    sock = talker.run("says" if kind in HARMLESS else "says_until_refused")
    sock.settimeout(10)
    assert sock.recv(1) == b"!"
    if before is None:
        good(make)
    talker.poll(), talker.error
    sock.close()
    assert talker.wait(10) == 0  # neither did it lose its own status
    if before is None:
        before = fds(pid)
good(make)
support.wait_until(lambda: fds(pid) <= before)
assert bystander.poll() is None
held.close()
assert bystander.wait(10) == 0
good(make)
assert make is not earlyfork.new or earlyfork.status().templates[0].pid == pid
