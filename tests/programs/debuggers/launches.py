"""Is run by a debugger, whose threads forbid an early template: what is launched is not debugged."""

import earlyfork
import warnings

warnings.simplefilter("ignore")
for make in (earlyfork.new, earlyfork.new_exec):
    process = make().eval(
        "import sys\ndef work(sock): sock.sendall(str('pydevd' in sys.modules).encode())"
    )
    process.ready(10)
    with process.run("work") as sock:
        print(sock.makefile().read())
    assert process.wait(10) == 0
print(earlyfork.status().early)
