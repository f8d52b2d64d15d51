"""Sent to a process of secrets_before.py: a fresh `__main__`, no half-imported module, no handler."""

import __main__
import gc
import signal
import sys

assert not hasattr(__main__, "SECRET") and not hasattr(__main__, "__file__")
assert sys.modules["__main__"].__dict__ is globals()
assert __main__.__name__ == "__main__" and __main__.__spec__ is None
half = [
    name
    for name, module in list(sys.modules.items())
    if getattr(getattr(module, "__spec__", None), "_initializing", False)
]
assert not half, half
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert gc.isenabled()
assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
