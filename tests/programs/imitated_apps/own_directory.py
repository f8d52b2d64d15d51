"""An app's template has a bootloader above it, which must end last."""

import earlyfork
import os
import signal
import support
import sys
import work

env = {**os.environ, "PYINSTALLER_RESET_ENVIRONMENT": "1"}
process = earlyfork.new_exec(executable=sys.executable, env=env)
sock = process.run(work.hold)
assert sock.recv(1) == b"!"
(bootloader,) = support.children(os.getpid())
os.kill(bootloader, signal.SIGINT)  # a terminal's Ctrl-C is not for it
process.close()
process = None  # and with it its template
assert support.alive(bootloader)
sock.close()
assert support.gone_within(bootloader)
earlyfork.status()  # waits for it
assert support.children(os.getpid()) == []
print("removed last")
