"""Makes processes, runs, nests, signals and waits for them; one outlives it."""

import earlyfork
import os
import work

assert not os.path.exists("/proc/self")
for make in (earlyfork.new, earlyfork.new_exec):
    process = make().send_arg(2)
    assert len(work.got(process.run(work.nested))) == 3
    assert process.wait(10) == 0
linked = earlyfork.new()
sock = linked.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
linked.kill()
assert linked.wait(10) == -9
last = earlyfork.new()  # holds stdout, and would do so for ever
sock = last.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
print(earlyfork.status().early)
