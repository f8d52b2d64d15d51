"""Registers exit functions at its top level, and has a worker of the named method run to its end."""

import atexit
import logging
import multiprocessing
import os
import sys
import weakref
from atexit import register

import earlyfork.mp


def note(*words):
    os.write(1, (" ".join(words) + "\n").encode())


class Handler(logging.Handler):
    records = 0

    def emit(self, _record):
        self.records += 1

    def flush(self):
        note("flushed", str(self.records))


@atexit.register
def decorated():
    note(__name__.strip("_"), "decorated")


atexit.register(note, "first", "and", "more")
register(note, "second")
atexit.register(print, "never")
atexit.unregister(print)
logging.getLogger().addHandler(Handler())


def work():
    register(note, "the worker's own")
    logging.getLogger().warning("noted")
    work.finalizer = weakref.finalize(work, note, "finalized")


if __name__ == "__main__":
    if sys.argv[1] == "snapshot":
        from earlyfork.template import snapshot

        context = earlyfork.mp.get_context(template=snapshot())
    else:
        context = multiprocessing.get_context(sys.argv[1])
    for _ in range(2):
        process = context.Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
    os._exit(0)  # nothing of this process's own is told
