"""Signals processes that have ended, beside others that take the few pids there are."""

import earlyfork
import os
import signal
import threading
import work

with open("/proc/sys/kernel/pid_max", "w") as file:
    file.write("400")
first = work.got(earlyfork.new().run(work.pid))
seen, recycled, hit = set(), 0, []
stop = threading.Event()


def innocents():
    # Others take whatever pid is free: none of them may be hit.
    while not stop.is_set():
        pid = os.fork()
        if not pid:
            os._exit(7)
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) != 7:
            hit.append(status)


bystander = threading.Thread(target=innocents)
bystander.start()
old = []
for _ in range(900):
    process = earlyfork.new()
    process.run("work.returns").detach()
    pid = process.pid
    recycled += pid in seen
    seen.add(pid)
    process.kill()  # it ends by itself just now
    old.append(process)
    for one in old[-60::7]:
        one.kill()
        one.terminate()
    if len(old) > 60:
        first = old.pop(0)
        assert first.wait(10) in (0, -signal.SIGKILL, -signal.SIGTERM)
        first.kill()
for process in old:
    assert process.wait(10) in (0, -signal.SIGKILL, -signal.SIGTERM)
stop.set()
bystander.join()
assert not hit, hit
assert recycled > 100, recycled
print("recycled", recycled)
