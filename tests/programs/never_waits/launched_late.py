"""Makes all calls while the interpreter that it launched has not begun."""

import earlyfork
import os
import sys
from programs.never_waits.kit import all_calls, check

os.mkfifo("gate")
with open("slow", "w") as file:
    file.write(f'#!/bin/sh\nread line < {os.getcwd()}/gate\nexec {sys.executable} "$@"\n')
os.chmod("slow", 0o755)
earlyfork.set_executable(os.path.abspath("slow"))
process = earlyfork.new_exec(executable=os.path.abspath("slow"))
made = all_calls(process.fork, "launched")
with open("gate", "w") as gate:
    gate.write("go on\n")
check(made)
process.ready(20).close()
