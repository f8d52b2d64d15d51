"""A value of more than 4 GB, beside the pickle, to a worker and back."""

import earlyfork

import pickle

from earlyfork import rpc

SIZE = (1 << 32) + 5

data = bytearray(SIZE)
data[:3] = b"abc"
data[-3:] = b"xyz"
with rpc.Client(earlyfork.new()) as client:
    assert client.call("builtins.len", pickle.PickleBuffer(data)) == SIZE
    found = client.call("pickle.PickleBuffer", pickle.PickleBuffer(data))
    assert len(found) == SIZE
    assert bytes(found[:3]) == b"abc"
    assert bytes(found[-3:]) == b"xyz"
    assert client.call("operator.neg", 1) == -1
print("all well")
