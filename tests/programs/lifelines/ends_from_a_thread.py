"""Has processes that a thread made, and ends by what another thread does: HOW."""

import earlyfork
import json
import os
import resource
import signal
import sys
import threading
import work


def in_thread(function, *args):
    threading.Thread(target=function, args=args).start()


def dumps_no_core():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    in_thread(os.abort)


ENDS = {
    "os._exit in a thread": lambda: in_thread(os._exit, 6),
    "SIGKILL from a thread": lambda: in_thread(os.kill, os.getpid(), signal.SIGKILL),
    "SIGTERM to a thread": lambda: in_thread(
        lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    ),
    "a fatal signal in a thread": dumps_no_core,
}
made = []


def make():
    prepared = earlyfork.new().ready(10)
    linked = earlyfork.new()
    sock = linked.run(work.stubborn, linked=True)
    assert sock.recv(1) == b"!"
    made.extend((prepared, linked, sock))


thread = threading.Thread(target=make)
thread.start()
thread.join()
pids = [made[0].pid, made[1].pid, *(t.pid for t in earlyfork.status().templates)]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
ENDS[sys.argv[1]]()
signal.pause()
