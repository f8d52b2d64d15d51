"""Is started without some of its streams: LOG CLOSED, where the second names their fds."""

import earlyfork
import os
import sys

fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(fd, 50)
os.close(fd)
closed = [int(fd) for fd in sys.argv[2]]


def mine():
    found = []
    for fd in (0, 1, 2):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            found.append("closed")
    return found


def of(pid):
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]


try:
    process = earlyfork.new().require("work").ready(10)
    template = earlyfork.status().templates[0].pid
    launched = earlyfork.new_exec(executable=sys.executable).ready(10)
    for pid in (template, process.pid, launched.pid):
        for fd in closed:
            assert of(pid)[fd] == "/dev/null", (fd, of(pid))
    assert not [to for to in mine() if to.startswith("socket:")], mine()
    process.eval("import sys; print('out'); print('err', file=sys.stderr)")
    process.eval("sys.stdin.read()")
    process.ready(10)
    import work

    assert work.got(process.run(work.pid)) == process.pid
    assert process.wait(10) == 0
except BaseException:
    import traceback

    os.write(50, traceback.format_exc().encode())
else:
    os.write(50, b"good")
