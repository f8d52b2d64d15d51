"""A program that ends while it is connected, in one way or another."""

import os
import signal
import sys

from earlyfork import remote

if __name__ == "__main__":
    how, state, python = sys.argv[1:]
    command = ["sh", "-c", 'sleep 1000; "$@"', "sh"] if state == "connecting" else ["env"]
    host = remote.connect(command, python=python)
    child = host.fork()
    told = 1
    if state == "ready":
        told = host.ready(10).pid
    if state == "running":
        remote.ship(host, "remote_work")
        worker = host.fork()
        sock = worker.run("remote_work.linger", linked=True)
        told = int(sock.recv(100))
    print(told, flush=True)
    if how == "raise":
        raise KeyboardInterrupt
    if how == "_exit":
        os._exit(0)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
