"""gevent is there before the import of earlyfork: `patched`, `hub` (that runs) or `greenlet`."""

import os
import sys
import warnings

import gevent
from gevent import monkey

WAY = sys.argv[1]


def first_line():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        import earlyfork
    return earlyfork, said


if WAY == "patched":
    monkey.patch_all()
if WAY == "hub":
    gevent.sleep(0)
earlyfork, said = gevent.spawn(first_line).get() if WAY == "greenlet" else first_line()
(one,) = said
assert one.category is earlyfork.EarlyForkWarning, said
assert "comes too late for an early template" in str(one.message), one
words = {"patched": "select.select is gevent.select's by now", "hub": "greenlets run already"}
assert words.get(WAY, "greenlets run already") in str(one.message), one
status = earlyfork.status()
assert not status.early
assert status.reason in str(one.message), status.reason

import kit

with kit.Ticks() as ticks:
    process = earlyfork.new()
    sock = process.run("there.says_what_it_is")
    assert sock.recv(10) == b"clean"
    sock.close()
    assert os.readlink(f"/proc/self/fd/{process.sentinel}") == "anon_inode:[eventpoll]"
    assert process.wait(10) == 0
    workers = [earlyfork.new().send_arg(n, 0.05) for n in range(5)]
    for worker in workers:
        worker.run("there.exits").close()
    waiting = [gevent.spawn(worker.wait, 10) for worker in workers]
    assert [one.get() for one in waiting] == [0, 1, 2, 3, 4]
kit.no_children()
if WAY == "patched":
    assert ticks.count > 5, ticks.count
