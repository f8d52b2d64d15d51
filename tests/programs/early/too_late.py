"""Has a thread before it imports earlyfork: there is no early template, and a warning."""

import threading
import warnings

event = threading.Event()
thread = threading.Thread(target=event.wait, name="a-thread-of-the-host")
thread.start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import earlyfork
assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
assert "a-thread-of-the-host" in str(caught[0].message)
assert "first line" in str(caught[0].message)
assert caught[0].filename == __file__, caught[0]
print(earlyfork.status().early)
process = earlyfork.new()  # launched instead
sock = process.eval("def f(sock): sock.sendall(b'worker')").run("f")
print(sock.recv(100).decode())
assert process.wait(10) == 0
event.set()
