"""How much a worker that floods its template slows down others, as a ratio.

    python benchmarks/flood.py [ROUNDS]

Against a worker that keeps as busy and says nothing: what the two cost in CPU time is the same.
Rounds alternate; the median of each round's processes, and the median of the rounds' ratios.
"""

import earlyfork  # isort: skip - forks the template
import statistics
import sys
import time

KINDS = {
    "nothing": 0,
    "requests, which are granted": 1,
    "what is no message": 2,
    "numbers, before it runs": 3,
}
TALKER = """
import os, socket, time
import earlyfork._child.here
from earlyfork._shared import wire
from earlyfork._shared.payloads import UP_HEAD

def talk(kind):
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    up = socket.socket(fileno=os.dup(earlyfork._child.here.here.up))
    up.setblocking(False)
    ends = [end.detach() for end in socket.socketpair()]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if kind == 1:
                socket.send_fds(up, [UP_HEAD.pack(wire.SIBLING, os.getpid())], ends)
            elif kind == 2:
                socket.send_fds(up, [b"x" * 100], ends)
            elif kind == 3:
                up.send(UP_HEAD.pack(wire.IS_READY, os.getpid()) + b"1")
            else:
                up.getsockname()
        except OSError:
            continue

def talks(sock, kind):
    sock.sendall(b"!")
    talk(kind)
"""
COUNT, SECONDS = 150, 1.5


def one_round(kind: int) -> float:
    """The median time of a process, from the request to its first byte, in seconds."""
    talker = earlyfork.new().eval(f"SECONDS = {SECONDS}" + TALKER)
    sock = None
    if kind == 3:
        talker.call("__main__.talk", kind)
    else:
        sock = talker.send_arg(kind).run("talks")
        assert sock.recv(1) == b"!"
    found = []
    end = time.monotonic() + SECONDS * 0.8
    while time.monotonic() < end and len(found) < COUNT:
        before = time.perf_counter()
        with earlyfork.new().run("builtins.repr") as stream:
            stream.recv(1)
        found.append(time.perf_counter() - before)
        time.sleep(0.002)
    talker.kill() if sock else talker.close()
    if sock:
        sock.close()
    return statistics.median(found)


def main() -> None:
    """Print one ratio for each kind of flood."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 5
    ratios: dict[str, list[float]] = {name: [] for name in KINDS if KINDS[name]}
    for _ in range(rounds):
        quiet = one_round(0)
        for name, found in ratios.items():
            found.append(one_round(KINDS[name]) / quiet)
    for name, found in ratios.items():
        print(f"{name}: {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


main()
