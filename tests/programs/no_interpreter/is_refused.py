"""A host whose sys.executable is EXECUTABLE ("None": it has none) asks, and then sets HELP."""

import earlyfork
import os
import sys
import work
from programs.no_interpreter.host import HERE, NAME, pretend

executable, *helps = sys.argv[1:]
pretend(None if executable == "None" else executable.replace("HERE", HERE))
before = len(os.listdir("/proc/self/fd"))
for ask in (earlyfork.new, earlyfork.new_exec):
    try:
        ask()
    except earlyfork.LaunchError as error:
        print(str(error).replace(HERE, "HERE").replace(NAME, "pythonX.Y"))
    else:
        raise AssertionError("something was launched")
assert len(os.listdir("/proc/self/fd")) == before
print(str(earlyfork.status()).count("no interpreter"))
for python in helps:
    earlyfork.set_executable(python)
    process = earlyfork.new().send_arg("works")
    assert work.got(process.run(work.echo)) == ("works",)
    assert process.wait(10) == 0
