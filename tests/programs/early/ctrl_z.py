"""Waits for Ctrl-Z, and to go on."""

import earlyfork
import signal
import support
import work

worker = earlyfork.new()
sock = worker.run(work.hold)
assert sock.recv(1) == b"!"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
print("press", worker.pid, flush=True)
signal.sigwait([signal.SIGCONT])
support.wait_until(lambda: support.state(worker.pid) != "T")
sock.close()
assert worker.wait(10) == 0
assert work.got(earlyfork.new().send_arg("after").run(work.echo)) == ("after",)
print("the end")
