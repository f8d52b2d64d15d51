"""A snapshot of a program that gevent has patched; one that is taken too late is refused."""

import warnings

from gevent import monkey

monkey.patch_all()
import os
import time

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it comes too late for an early template
    import earlyfork


def work(sock, number):
    time.sleep(0.01)
    raise SystemExit(number)


from earlyfork.template import TEMPLATE, snapshot

import support


def check(template):
    workers = [template.fork().send_arg(n) for n in range(5)]
    for worker in workers:
        worker.run("work").close()
    assert [worker.wait(20) for worker in workers] == [0, 1, 2, 3, 4]
    worker = template.fork().send_arg(7)
    worker.run("there.uses_its_loop").close()
    assert worker.wait(20) == 7
    support.wait_until(lambda: "Z" not in map(support.state, support.children(template.pid)))


check(TEMPLATE)
print(TEMPLATE.pid)
import gevent


def too_late():
    try:
        snapshot()
    except earlyfork.EarlyForkError as error:
        return str(error)


assert "while greenlets run" in gevent.spawn(too_late).get()
assert "while greenlets run" in too_late()
check(TEMPLATE)
support.wait_until(lambda: not support.children(os.getpid()))
