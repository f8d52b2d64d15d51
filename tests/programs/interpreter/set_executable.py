"""Launches by an interpreter of its own choice, WRAPPER, and by the usual one again."""

import earlyfork
import os
import sys


def starts():
    return open("started").read().count("started") if os.path.exists("started") else 0


first = earlyfork.new().ready(10)
earlyfork.set_executable(sys.argv[1])
earlyfork.new().ready(10)  # the template that was launched before is replaced
earlyfork.new().ready(10)
assert starts() == 1, starts()
first.eval("pass").ready(10)
earlyfork.new_exec().ready(10)
assert starts() == 2
earlyfork.new_exec(executable=sys.executable).ready(10)
assert starts() == 2
earlyfork.set_executable(None)
earlyfork.new_exec().ready(10)
assert starts() == 2
assert earlyfork.status().interpreter == f"{sys.executable} (sys.executable)"
