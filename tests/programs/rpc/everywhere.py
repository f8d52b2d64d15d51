"""Calls in processes of each origin: early or launched, a snapshot, a worker of a worker."""

import earlyfork

import operator
import os
import sys

from earlyfork import rpc

LABEL = "main's own"


def own(value):
    return f"{LABEL}: {value}"


def nested(sock):
    with rpc.Client(earlyfork.new()) as client:
        sock.sendall(b"%d" % client.call(operator.mul, 6, 7))


def ask_inside():
    with rpc.Client(earlyfork.new()) as client:
        return client.call(os.getppid) != 0, client.call(operator.mul, 6, 7)


if sys.argv[1] != "launched":
    from earlyfork.template import TEMPLATE


def main():
    with rpc.Client(earlyfork.new()) as client:
        assert client.call(operator.add, 1, 2) == 3
        assert client.call("operator.add", [1], [2]) == [1, 2]
        assert client.process.origin == ("exec" if sys.argv[1] == "launched" else "early")
        pid = client.call("os.getpid")
        try:
            client.options(timeout=0.05).call("time.sleep", 60)
            raise AssertionError("nothing was ended")
        except rpc.CallTimeout:
            assert client.call("os.getpid") == pid
    with rpc.Client(earlyfork.new_exec()) as client:
        assert client.call("math.sqrt", 16) == 4
    template = earlyfork.new().require("earlyfork.rpc")
    pids = set()
    for _ in range(3):
        with rpc.Client(template.fork()) as client:
            pids.add(client.call("os.getpid"))
    assert len(pids) == 3
    template.close()
    if sys.argv[1] == "launched":
        return
    with rpc.Client(TEMPLATE.fork()) as client:
        assert client.call(own, 5) == "main's own: 5"
        assert list(client.stream(own, "ab", window=1))[:4] == list("main")
        assert client.call(ask_inside) == (True, 42)
    worker = TEMPLATE.fork()
    with worker.run(nested) as sock:
        assert sock.recv(9) == b"42"
    assert worker.wait() == 0


if __name__ == "__main__":
    main()
    print("all well")
