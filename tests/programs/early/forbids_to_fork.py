"""Has an audit hook that lets nobody fork: `everywhere`, or `but in main`."""

import os
import signal
import sys

MAIN = os.getpid()


def hook(event, args):
    if event == "os.fork" and (sys.argv[1] == "everywhere" or os.getpid() != MAIN):
        raise RuntimeError("no fork here")


sys.addaudithook(hook)
before = sorted(os.listdir("/proc/self/fd"))
try:
    import earlyfork  # noqa: F401 - to be loaded is all that it has to do
except RuntimeError:
    assert sys.argv[1] == "everywhere"
print(os.getpid() == MAIN, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
if "earlyfork" not in sys.modules:
    assert sorted(os.listdir("/proc/self/fd")) == before
