"""Looks for children after a launch, which has a direct child for a moment."""

import earlyfork
import os
import subprocess

for make in (earlyfork.new, earlyfork.new_exec):
    process = make().ready(10)
    try:
        os.wait()
    except ChildProcessError:
        continue
    raise AssertionError("a child that ended is still there")
other = subprocess.Popen(["true"])  # and the user's own children are the user's
process = earlyfork.new_exec().ready(10)
assert os.wait()[0] == other.pid
other.returncode = 0
