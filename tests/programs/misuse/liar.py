"""A socket that only pretends to be a prepared process says pids and numbers that are none."""

import array
import earlyfork
import os
import socket
import struct
import subprocess
import sys
import time


def pretend(data):
    near, far = socket.socketpair()
    process = earlyfork.new_from_fh(far)
    _, ancillary, _, _ = near.recvmsg(4096, 4096)
    ends = array.array("i", b"".join(raw for _, _, raw in ancillary))
    for end in ends:
        os.write(end, data)
    return process, near, ends


def frame(op, text):
    return struct.pack("!BI", op, len(text)) + text


stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
process, *kept = pretend(frame(64, b"%d" % stranger.pid))
try:
    process.kill()
except earlyfork.ProtocolError as error:
    assert "no descendant" in str(error), error
else:
    raise AssertionError("a stranger was signalled")
stranger.communicate(b"\n")
assert stranger.returncode == 0

for data in (
    *(frame(64, pid) for pid in (b"0", b"1", b"-1", b"abc", b"9" * 30)),
    *(frame(67, code) for code in (b"abc", b"999", b"9" * 30)),
    *(frame(68, b"x"), frame(64, b"5") + frame(64, b"6"), frame(7, b""), b"\x42\xff\xff\xff\xff"),
):
    process, *kept = pretend(data)
    for ask in (process.poll, process.wait, process.kill):
        try:
            ask()
        except earlyfork.ProtocolError:
            continue
        raise AssertionError((data, ask))
    assert process.error is None

# One look reads so much and no more, however much there is to read.
process, near, (end,) = pretend(b"")
talker = os.fork()
if not talker:
    os.set_blocking(end, True)
    try:
        while True:
            os.write(end, frame(65, b"7") * 5000)
    finally:
        os._exit(0)
began = time.monotonic()
assert process.poll() is None
assert time.monotonic() - began < 1
os.kill(talker, 9)
os.waitpid(talker, 0)
