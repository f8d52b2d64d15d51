"""Has a worker that takes a snapshot of itself."""

import earlyfork  # noqa: F401 - the first line
import work


def outer(sock):
    global STATE
    STATE = "of the worker"
    from earlyfork.template import snapshot

    process = snapshot().fork()
    work.give(sock, work.got(process.run(inner)))


def inner(sock):
    work.give(sock, STATE)


from earlyfork.template import TEMPLATE

process = TEMPLATE.fork()
assert work.got(process.run(outer)) == "of the worker"
assert process.wait(10) == 0
