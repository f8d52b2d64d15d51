"""gevent is patched after earlyfork's first line; everything is used by greenlets."""

import os
import sys
import time

import earlyfork

assert earlyfork.status().early == (os.environ.get("EARLYFORK") != "0")
if "used before" in sys.argv:
    earlyfork.new().send_arg(0).run("there.exits").close()

import gevent
from gevent import monkey

monkey.patch_all()
import kit
import support

# Waiting, by several greenlets, for one process; others run meanwhile.
process = earlyfork.new().send_arg(7, 0.1)
process.run("there.exits").close()
with kit.Ticks() as ticks:
    waiting = [gevent.spawn(process.wait, 10) for _ in range(3)]
    assert [one.get(timeout=20) for one in waiting] == [7, 7, 7]
assert ticks.count > 5, ticks.count
with kit.Ticks() as ticks:
    process = earlyfork.new().eval("import time; time.sleep(.1)")
    gevent.spawn(process.ready, 10).get()
    try:
        process.wait(0.05)
    except TimeoutError:
        assert ticks.count > 10, ticks.count
process.close()

# Looking never lets others run.
process = earlyfork.new()
sock = process.run("there.says_it_is_there")
assert sock.recv(1) == b"!"
with kit.Ticks() as ticks:
    assert process.poll() is None
    assert process.pid > 0
    other = earlyfork.new()
    assert ticks.count == 0
    sentinel = process.sentinel
    assert os.readlink(f"/proc/self/fd/{sentinel}") == "anon_inode:[eventpoll]"
    process.kill()
    gevent.socket.wait_read(sentinel, timeout=10)
assert process.wait(10) == -9
assert process.poll() == -9
other.close()
sock.close()

# What is sent by several greenlets comes in one piece each, although it finds no room at first.
template = earlyfork.new().eval("import time; time.sleep(.1)")
big = [bytes([n]) * (1 << 20) for n in range(4)]
gevent.joinall([gevent.spawn(template.send_arg, part) for part in big], raise_error=True)
gevent.joinall([gevent.spawn(template.require, "colorsys") for _ in range(4)], raise_error=True)
template.eval("""
def check(sock, *parts):
    assert sorted(part[0] for part in parts) == [0, 1, 2, 3]
    assert all(part == part[:1] * (1 << 20) for part in parts)
""")
template.run("check").close()
assert template.wait(20) == 0

# A template that is killed is known to be dead.
template = earlyfork.new()
for _ in range(3):
    made = template.fork().send_arg(0)
    made.run("there.exits").close()
    assert made.wait(10) == 0
os.kill(template.pid, 9)
assert support.gone_within(template.pid)
begun = time.monotonic()
try:
    template.fork()
except earlyfork.TemplateDied:
    assert time.monotonic() - begun < 5
else:
    raise AssertionError("a dead template forks")


# Each process in a greenlet of its own.
def one(number):
    made = earlyfork.new().send_arg(number, 0.01)
    made.run("there.exits").close()
    return made.wait(20)


jobs = [gevent.spawn(one, n) for n in range(40)]
assert [job.get(timeout=60) for job in jobs] == list(range(40))
kit.no_children()
print("\n".join(str(entry.pid) for entry in earlyfork.status().templates))
