"""The program has no stderr; its workers' last words are kept all the same."""

import os

import earlyfork
from earlyfork import rpc

os.close(2)
client = rpc.Client(earlyfork.new(), stderr="keep")
try:
    client.call("os.write", 2, b"gone\n")
    client.call("os._exit", 1)
except rpc.WorkerDied as error:
    print(error.stderr)
