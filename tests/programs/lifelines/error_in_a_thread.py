"""Has a linked worker that was run by a thread which then fails."""

import earlyfork
import threading
import work

made = []


def make():
    made.append(earlyfork.new())
    made.append(made[0].run(work.hold, linked=True))
    raise RuntimeError("end of the thread")


thread = threading.Thread(target=make)
thread.start()
thread.join()
process, sock = made
assert sock.recv(1) == b"!" and process.poll() is None
sock.close()
assert process.wait(10) == 0
