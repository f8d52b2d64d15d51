"""Is stopped while one of its processes is killed, and then looks for all of them."""

import earlyfork
import json
import sys
import work

linked, free = earlyfork.new(), earlyfork.new()
socks = [linked.run(work.hold, linked=True), free.run(work.hold)]
assert [sock.recv(1) for sock in socks] == [b"!", b"!"]
prepared = earlyfork.new().send_arg("kept").ready(10)
slow = earlyfork.new().eval("x = sum(range(10**6))")
template = earlyfork.status().templates[0].pid
print(json.dumps([template, linked.pid, free.pid, prepared.pid]), flush=True)
sys.stdin.readline()
assert free.wait(10) == -9
assert linked.poll() is None
assert work.got(prepared.run(work.echo)) == ("kept",)
slow.ready(10)
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
socks[0].close()
assert linked.wait(10) == 0
print(json.dumps("good"), flush=True)
