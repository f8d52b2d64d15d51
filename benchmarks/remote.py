"""Processes of another machine against those here, in alternating rounds of one run.

    python benchmarks/remote.py [--rounds 60] [--many 1000] [--megabytes 100] [command ...]

The command leads to the other machine, `env` unless one is given. "calls" is a trivial call against
a bare socketpair with pickle between two forked processes; "process" is from `fork` to the first
byte, against a template here. Ratios are of neighbours in one round: the calmest tenth and the
median are shown, with what is wanted. Then 1000 processes live at once over one connection, and
bytes go both ways while a channel is not read.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import socket
import statistics
import sys
import threading
import time
from pathlib import Path

import earlyfork
from earlyfork import remote, rpc

#: Figure: must and goal.
WANTED = {"calls": (4.0, 3.0), "process": (3.0, 2.0)}
CALLS = 50
PROCESSES = 3


def raw_pair() -> tuple[socket.socket, int]:
    """A forked process that answers pickles with pickles."""
    near, far = socket.socketpair()
    pid = os.fork()
    if pid:
        far.close()
        return near, pid
    near.close()
    while data := far.recv(65536):
        far.sendall(pickle.dumps(pickle.loads(data), 5))
    os._exit(0)


def raw_calls(sock: socket.socket) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        sock.sendall(pickle.dumps((number,), 5))
        pickle.loads(sock.recv(65536))
    return (time.perf_counter() - began) / CALLS


def calls(client: rpc.Client) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        client.call("operator.neg", number)
    return (time.perf_counter() - began) / CALLS


def processes(template: earlyfork.Process) -> float:
    """From `fork` to the first byte, one after the other."""
    taken = 0.0
    for _ in range(PROCESSES):
        began = time.perf_counter()
        process = template.fork()
        sock = process.run("earlyfork._child.here:rehearsal")
        sock.recv(1)
        taken += time.perf_counter() - began
        sock.close()
        process.wait(60)
    return taken / PROCESSES


def pairs(host: earlyfork.Process, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The seconds that each took: theirs and ours, by figure."""
    sock, pid = raw_pair()
    found: dict[str, list[tuple[float, float]]] = {"calls": [], "process": []}
    template = earlyfork.new()
    with rpc.Client(host.fork()) as client:
        for number in range(rounds + 3):
            taken = {
                "calls": (raw_calls(sock), calls(client)),
                "process": (processes(template), processes(host)),
            }
            for name, pair in taken.items() if number >= 3 else ():
                found[name].append(pair)
    sock.close()
    os.waitpid(pid, 0)
    return found


def many(host: earlyfork.Process, number: int) -> dict[str, float]:
    """So many processes that live at once, each of which answers."""
    began = time.perf_counter()
    made = [host.fork() for _ in range(number)]
    socks = [process.run("earlyfork._child.here:rehearsal") for process in made]
    asked = time.perf_counter()
    for sock in socks:
        assert sock.recv(1) == b"!"
        sock.close()
    for process in made:
        assert process.wait(60) == 0
    return {"asked for, s": asked - began, "all have answered and ended, s": _since(began)}


def _since(began: float) -> float:
    return time.perf_counter() - began


ECHO = """
def echo(sock):
    while data := sock.recv(1 << 16):
        sock.sendall(data)
def pour(sock):
    while True:
        sock.sendall(bytes(1 << 16))
"""


def both_ways(host: earlyfork.Process, megabytes: int) -> dict[str, float]:
    """Bytes there and back again, while another channel is full and not read."""
    stuck = host.fork().eval(ECHO)
    unread = stuck.run("pour", linked=True)
    process = host.fork().eval(ECHO)
    sock = process.run("echo")
    piece = os.urandom(1 << 20)

    def write() -> None:
        for _ in range(megabytes):
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)

    began = time.perf_counter()
    writer = threading.Thread(target=write)
    writer.start()
    got = 0
    while data := sock.recv(1 << 18):
        got += len(data)
    writer.join()
    taken = _since(began)
    assert got == megabytes << 20
    assert process.wait(60) == 0
    sizes = {
        f"{name}, peak MB": peak / 1024
        for name in ("ef-relay", "ef-agent")
        if (peak := _peak(name))
    }
    stuck.kill()
    unread.close()
    return {"MB/s, each way": megabytes / taken, **sizes}


def _peak(name: str) -> int:
    """The peak of the resident memory of the largest process of that name, in KB."""
    found = [0]
    for pid in filter(str.isdecimal, [path.name for path in Path("/proc").iterdir()]):
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        lines = dict(line.split(":", 1) for line in text.splitlines())
        if lines["Name"].strip() == name and "VmHWM" in lines:
            found.append(int(lines["VmHWM"].split()[0]))
    return max(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("command", nargs="*", default=["env"])
    options = parser.parse_args()
    began = time.perf_counter()
    host = remote.connect(options.command, python=options.python).ready(60)
    report: dict[str, dict[str, float]] = {"connect": {"ms": _since(began) * 1000}}
    for name, found in pairs(host, options.rounds).items():
        theirs, ours = (min(times) for times in zip(*found, strict=True))
        must, goal = WANTED[name]
        report[name] = {
            "us": ours * 1e6,
            "best to best": ours / theirs,
            "median": statistics.median(ours / theirs for theirs, ours in found),
            "must": must,
            "goal": goal,
        }
    if options.many:
        report[f"{options.many} processes"] = many(host, options.many)
    if options.megabytes:
        report[f"{options.megabytes} MB both ways"] = both_ways(host, options.megabytes)
    host.close()
    if options.json:
        print(json.dumps(report))
        return
    for name, values in report.items():
        print(f"{name:>24}  " + "  ".join(f"{key} {value:.2f}" for key, value in values.items()))


if __name__ == "__main__":
    main()
