"""Many calls of all kinds: neither side grows."""

import earlyfork

import gc
import sys

from earlyfork import rpc


def pages(pid="self"):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1])


with rpc.Client(earlyfork.new()) as client:
    pid = client.call("os.getpid")

    def some(number):
        for at in range(number):
            client.call("operator.add", at, 1)
            client.submit("operator.neg", at).result()
            client.post("operator.neg", at)
            if at % 50 == 0:
                assert sum(client.stream("builtins.range", 20)) == 190
                client.submit("operator.neg", at).cancel()
        gc.collect()

    some(500)
    before = pages(), pages(pid)
    some(int(sys.argv[1]))
    after = pages(), pages(pid)
    assert after[0] - before[0] < 250, (before, after)
    assert after[1] - before[1] < 250, (before, after)
print("all well")
