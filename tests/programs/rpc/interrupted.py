"""Ctrl-C while calls are under way, again and again: nothing is lost or taken for another one."""

import earlyfork

import os
import signal
import threading

from earlyfork import rpc

client = rpc.Client(earlyfork.new())
client.call("os.getpid")
over = threading.Event()
started = threading.Event()


def interrupt():
    started.wait()
    while not over.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(0.0007)


interrupter = threading.Thread(target=interrupt)
interrupter.start()
done = interrupts = number = 0
started.set()
while done < 800:
    try:
        number += 1
        wanted = number
        found = client.call("operator.add", wanted, 0)
        assert found == wanted, (found, wanted)
        done += 1
    except KeyboardInterrupt:
        interrupts += 1
while True:
    try:
        over.set()
        interrupter.join()
        break
    except KeyboardInterrupt:
        continue
assert interrupts
assert client.call("operator.add", 1, 1) == 2
assert client.pending == 0, client.pending
client.close()
assert client.join() == 0
print("all well")
