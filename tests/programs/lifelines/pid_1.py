"""Makes processes of all kinds as pid 1, to which orphans come home."""

import earlyfork
import os
import signal
import support
import warnings
import work

assert os.getpid() == 1
for _ in range(5):
    process = earlyfork.new().send_arg(1)
    assert work.got(process.run(work.echo)) == (1,)
    assert process.wait(10) == 0
linked = earlyfork.new()
sock = linked.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
assert linked.poll() is None
template = earlyfork.new().require("work")
clone = template.fork().ready(10)
work.got(template.fork().send_arg(2).run(work.nested))
template.close()
clone.close()
linked.kill()
assert linked.wait(10) == -9
# A template that dies is this process's own child now, as every orphan: reaped like these.
pid = earlyfork.status().templates[0].pid
os.kill(pid, signal.SIGKILL)
support.wait_until(lambda: support.state(pid) in ("Z", ""))
warnings.simplefilter("ignore")
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
print("good")
