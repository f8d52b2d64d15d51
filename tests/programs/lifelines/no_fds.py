"""Makes each call that needs an fd while there is none, one, two ... and then as many as it takes."""

import earlyfork
import contextlib
import errno
import os
import resource
import support
import sys
import work

for _ in range(3):
    assert work.got(earlyfork.new().run(work.pid))
prepared = earlyfork.new().ready(10)
running = earlyfork.new()
held = running.run(work.hold)
assert held.recv(1) == b"!"
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def count():
    return len(os.listdir("/proc/self/fd"))


def calls():
    yield "new", earlyfork.new
    yield "new with cwd", lambda: earlyfork.new(cwd="/")
    yield "new_exec", lambda: earlyfork.new_exec(executable=sys.executable)
    yield "fork", prepared.fork
    yield "send_fh", lambda: prepared.send_fh(0)
    yield "snapshot", earlyfork.template.snapshot


import earlyfork.template

for name, call in calls():
    made = []
    for room in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        filled = support.fill_fds()
        for fd in filled[:room]:
            os.close(fd)
        before = count() if room else None
        try:
            made.append(call())
        except OSError as error:
            assert error.errno == errno.EMFILE, (name, room, error)
            assert str(error) != str(OSError(errno.EMFILE, os.strerror(errno.EMFILE))), (
                name,
                room,
            )  # says at what
        try:
            if before is not None and not made:
                assert count() == before, (name, room, before, count())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            for fd in filled[room:]:
                os.close(fd)
        if made:
            break
    else:
        raise AssertionError(name + " never works")
    if made[0] not in (None, prepared):
        if name == "snapshot":  # lives under the low limit itself: works, or says so
            with contextlib.suppress(OSError, earlyfork.EarlyForkError):
                made[0].fork().ready(10)
        else:
            made[0].ready(10)
        made[0].close()
    del made
# Once there is room, all is as before.
for _ in range(4):
    process = earlyfork.new()
    assert work.got(process.run(work.pid)) == process.pid
    assert process.wait(10) == 0
assert len(work.got(prepared.run(work.echo))) == 1
assert running.poll() is None
held.close()
assert running.wait(10) == 0
