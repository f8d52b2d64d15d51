"""Workers are killed at random in the middle of calls: every call ends in exactly one way."""

import earlyfork

import random
import sys
import threading

from earlyfork import rpc

chance = random.Random(int(sys.argv[1]))
ends = {"answered": 0, "died": 0, "cancelled": 0}
told = []
for _ in range(int(sys.argv[2])):
    told.clear()
    client = rpc.Client(earlyfork.new(), concurrency=chance.choice([1, 1, 3]))
    calls = []
    stop = threading.Timer(chance.random() * 0.02, client.process.kill)
    stop.start()
    try:
        for _ in range(60):
            call = client.submit("operator.mul", b"x" * chance.choice([1, 9, 100_000]), 2)
            if chance.random() < 0.3:
                call.add_done_callback(lambda call: told.append(id(call)))
            if chance.random() < 0.1:
                call.cancel()
            calls.append(call)
            if chance.random() < 0.2:
                calls[-1].exception() if not calls[-1].cancelled() else None
    except (rpc.WorkerDied, earlyfork.ProcessStateError):
        pass
    stop.join()
    client.kill()
    client.join()
    for call in calls:
        assert call.done()
        if call.cancelled():
            ends["cancelled"] += 1
        elif call.exception() is None:
            ends["answered"] += 1
        else:
            assert isinstance(call.exception(), rpc.WorkerDied), call.exception()
            ends["died"] += 1
    assert client.pending == 0
    assert len(told) == len(set(told))
    client.process.close()
assert all(ends.values()) or int(sys.argv[2]) < 20, ends
print("all well")
