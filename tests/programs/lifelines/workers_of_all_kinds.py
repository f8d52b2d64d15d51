"""Has workers from every kind of template, each of which notes the end of its stream."""

import earlyfork
import json
import os
import sys
from earlyfork.template import TEMPLATE

HOLD = """
def hold(sock, path):
    sock.sendall(b"!")
    assert sock.recv(1) == b""
    with open(path, "w") as file:
        file.write("saw the end")
"""
launched = earlyfork.new_exec(executable=sys.executable)
template = earlyfork.new()
workers = [earlyfork.new(), launched, TEMPLATE.fork(), template.fork(), template]
socks = []
for number, worker in enumerate(workers):
    worker.eval(HOLD).send_arg(os.path.abspath(f"log-{number}"))
    socks.append(worker.run("hold"))
    assert socks[-1].recv(1) == b"!"
print(json.dumps([worker.pid for worker in workers]), flush=True)
sys.stdin.readline()
