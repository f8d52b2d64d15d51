"""Has handles on processes, which a worker of its snapshot tries to use."""

import earlyfork
import work

prepared = earlyfork.new().ready(10)
running = earlyfork.new()
held = running.run(work.hold)
assert held.recv(1) == b"!"


def use(sock):
    refused = []
    fork = TEMPLATE_BEFORE.fork
    for call in (prepared.fork, prepared.ready, running.wait, running.kill, fork):
        try:
            call()
        except earlyfork.EarlyForkError as error:
            refused.append(type(error).__name__)
    repr(prepared), repr(running), earlyfork.status()
    work.give(sock, refused)


from earlyfork.template import TEMPLATE as TEMPLATE_BEFORE, snapshot

process = snapshot().fork()
assert work.got(process.run(use)) == ["ProcessStateError"] * 5
assert process.wait(10) == 0
assert running.poll() is None
