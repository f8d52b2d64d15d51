"""A process takes the pid of one that has ended, by the kernel's own knob for it."""

import earlyfork
import os
import signal
import support
import time
import work


def take(pid):
    """Fork a process that has this pid and waits; its way to be told."""
    for _ in range(100):  # another process may be faster to take the next pid
        reader, writer = os.pipe()
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(7)
        os.close(reader)
        if child == pid:
            return writer
        os.close(writer)
        os.waitpid(child, 0)
    raise AssertionError(f"pid {pid} can't be had")


def unharmed(pid, writer):
    assert support.alive(pid)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, "the wrong process was hit"


def gone(process):
    """Wait until its forker has reaped it and let go of its status, which is not read."""
    pid = process.pid
    assert support.readable_within(process.sentinel, 10)
    return pid


def signals(process):
    for act in (process.terminate, process.kill, lambda: process.send_signal(signal.SIGCONT)):
        try:
            act()
        except earlyfork.ProcessLost:
            lost.append(process)


lost = []
template = earlyfork.new().ready(10)
for make in (earlyfork.new, template.fork, earlyfork.new_exec):
    # It ended by itself, and nobody has asked for its status.
    process = make()
    process.run(work.returns).close()
    pid = gone(process)
    writer = take(pid)
    signals(process)
    unharmed(pid, writer)
    assert process.wait(10) == 0 and not lost
    # Linked, with the handle dropped: nothing of ours may come later either.
    process = make()
    sock = process.run(work.hold, linked=True)
    assert sock.recv(1) == b"!"
    sock.close()
    pid = gone(process)
    writer = take(pid)
    del process
    earlyfork.status()
    unharmed(pid, writer)
    # Prepared only.
    process = make().ready(10)
    process.eval("raise SystemExit(3)")
    pid = gone(process)
    writer = take(pid)
    signals(process)
    process.close()
    unharmed(pid, writer)
# Its forker was killed: nobody knows what it is now.
process = template.fork()
process.run(work.returns).close()
pid = process.pid
os.kill(template.pid, signal.SIGSTOP)
support.wait_until(lambda: support.state(pid) == "Z")
os.kill(template.pid, signal.SIGKILL)


def reaped():
    """Orphans come to this program, which is pid 1."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0]
    except ChildProcessError:
        return False


support.wait_until(reaped)
began = time.monotonic()
support.wait_until(lambda: time.monotonic() > began + 0.02)  # as exact as start times are
writer = take(pid)
signals(process)
assert len(lost) == 3
unharmed(pid, writer)
print("good")
