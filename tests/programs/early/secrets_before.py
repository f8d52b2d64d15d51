"""Has variables, handlers, exit functions and unwritten output when it takes its template."""

import atexit
import signal

SECRET = "of the main program"
atexit.register(print, "exit function of the main program")
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
print("unflushed", end=" ")
import earlyfork
import support

process = earlyfork.new().eval(support.program("early/looks_around.py")).ready(10)
process.run("builtins.id")
assert process.wait(10) == 0
