"""Ignores what keys send; its workers do not."""

import earlyfork
import resource
import signal
import work

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for number in (signal.SIGTSTP, signal.SIGQUIT, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
template = earlyfork.new().send_arg("kept").ready(10)
template.fork().ready(10)
workers = [earlyfork.new() for _ in range(3)]
socks = [worker.run(work.hold) for worker in workers]
assert all(sock.recv(1) == b"!" for sock in socks)
print("press", *[worker.pid for worker in workers], flush=True)
assert workers[0].wait(10) == -signal.SIGQUIT
for number in range(3):
    assert work.got(earlyfork.new().send_arg(number).run(work.echo)) == (number,)
    assert work.got(template.fork().run(work.echo)) == ("kept",)
print("the end")
