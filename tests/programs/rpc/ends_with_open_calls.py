"""A program that ends with calls open, in the way that is asked for; its worker's pid is printed."""

import earlyfork

import os
import signal
import sys
import threading

from earlyfork import rpc

client = rpc.Client(earlyfork.new())
print(client.call("os.getpid"), flush=True)
calls = [client.submit("time.sleep", 60) for _ in range(3)]
calls[1].add_done_callback(print)  # so that a thread reads
waiting = threading.Thread(target=calls[0].exception, daemon=True)
waiting.start()
how = sys.argv[1]
if how == "raise":
    raise SystemExit(3)
if how == "_exit":
    os._exit(3)
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
