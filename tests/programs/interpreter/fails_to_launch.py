"""Launches what is no interpreter, PATH, in every way, and is told so."""

import earlyfork
import os
import sys

before = len(os.listdir("/proc/self/fd"))
for method in ("pid", "ready", "wait", "run"):
    try:
        process = earlyfork.new_exec(executable=sys.argv[1])
        if method == "pid":
            process.pid
        elif method == "run":
            process.send_arg(b"x" * 500000).run("builtins.id").close()
            process.wait(10)
        else:
            getattr(process, method)(10)
    except earlyfork.EarlyForkError as error:
        print(type(error).__name__, error)
    else:
        raise AssertionError("no error")
    process = None
after = len(os.listdir("/proc/self/fd"))
assert after == before, (before, after)
try:
    os.wait()
except ChildProcessError:
    print("no zombies")
