"""Waits for Ctrl-C, with processes in every state."""

import earlyfork
import signal
import support
import work

support.wait_until(lambda: earlyfork.status().templates[0].pid)
[template] = earlyfork.status().templates
worker = earlyfork.new()
assert worker.run(work.interrupted).recv(1) == b"!"
prepared = earlyfork.new().send_arg("of before").ready(10)
busy = earlyfork.new().eval("for n in range(10**7): pass")
clone = prepared.fork().ready(10)
try:
    print("press", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("main got it", flush=True)
assert worker.wait(10) == -signal.SIGINT
assert template in earlyfork.status().templates
assert work.got(prepared.run(work.echo)) == ("of before",)
assert work.got(clone.run(work.echo)) == ("of before",)
assert work.got(earlyfork.new().send_arg("after").run(work.echo)) == ("after",)
assert busy.ready(20)
print("the end")
