"""Has a linked worker that has made something: TREE of trees.py, and is ended by what ENDS says."""

import earlyfork
import json
import support
import sys

worker = earlyfork.new().eval(support.program("lifelines/trees.py"))
sock = worker.send_arg(*sys.argv[1:]).run("f", linked=True)
print(json.dumps([worker.pid, int(sock.recv(100))]), flush=True)
sys.stdin.readline()
