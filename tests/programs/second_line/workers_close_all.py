"""Has two linked workers that close all that they have inherited."""

import earlyfork  # noqa: F401 - by the main program itself
import json
import sys
import work
from programs.second_line.kit import Workers

workers = Workers()
made = [workers.make(), workers.make()]
socks = [worker.run(work.closes_all, linked=True) for worker in made]
assert all(sock.recv(1) == b"!" for sock in socks)
print(json.dumps([worker.pid for worker in made]), flush=True)
sys.stdin.readline()
