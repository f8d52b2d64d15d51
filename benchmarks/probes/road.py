"""earlyfork's figures on the road: what a process costs that is given something.

`carry` names what: the keys of SEND, or a template's own luggage (DATA), or `module` and `require`,
which load small modules from disk in a new process. All else is a fork of a template that has one
small module.
"""

# ruff: noqa: I001 (the order of imports is the point)
from __future__ import annotations

import os
import sys

if os.environ.get("BENCH_PATH"):
    sys.path.insert(0, os.environ["BENCH_PATH"])

import report
import earlyfork

import socket
from time import perf_counter, sleep

from colours import Colour
from ours import private_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], earlyfork.Process]

#: 1 GB in one buffer, every page written; 400 MB in 400 000 dicts of five small values each.
DATA = {
    "buffer": "memory = bytearray(b'x') * (1 << 30)",
    "objects": (
        "rows = [{'id': i, 'a': f'{i:06} a' * 16, 'b': f'{i:06} b' * 16, 'c': f'{i:06} c' * 16,"
        " 'd': f'{i:06} d' * 16} for i in range(400_000)]"
    ),
}
#: What is sent to each process before it runs.
SEND = {
    "bytes": lambda process, _sock: process.send_arg(b"y"),
    "int": lambda process, _sock: process.send_arg(1),
    "mixed": lambda process, _sock: process.send_arg(1, {"a": 1, "b": "x"}, None, (1, 2)),
    "pickled": lambda process, _sock: process.send_arg(Ellipsis, range(3), Colour.RED),
    "socket": lambda process, sock: process.send_fh(sock),
    "prefork": lambda process, sock: process.send_fh(sock).send_arg(1),
}
LINKED = ("linked", "prefork")

makers: dict[str, Make] = {}


def maker(carry: str) -> Make:
    """How a process is made that is ready to run; its template is made once."""
    if carry not in makers:
        makers[carry] = build(carry)
    return makers[carry]


def build(carry: str) -> Make:
    """As `maker`."""
    if carry == "module":
        return earlyfork.new
    if carry == "require":
        return lambda: earlyfork.new().require("small", "other")
    modules = ("small", "colours") if carry == "pickled" else ("small",)
    template = earlyfork.new().require(*modules).eval(DATA.get(carry, "")).ready(timeout=60)
    if carry in DATA:
        template.compact().ready(timeout=60)
    send = SEND.get(carry)
    if send is None:
        return template.fork
    listener = socket.create_server(("127.0.0.1", 0))
    return lambda: send(template.fork(), listener)


def first(wish: report.Wish) -> dict[str, object]:
    """How long until the first byte from user code; asked `gap` after the end of the one before.

    That end is the end of file, as in aef.pl: to wait for the template's word on it would hide that
    the template is busy, with the fork of a standby of many gigabytes, say.
    """
    make, linked, samples, row = maker(wish.carry), wish.carry in LINKED, [], []
    for _ in range(wish.count):
        if wish.gap:
            sleep(wish.gap)
        start = perf_counter()
        process = make()
        sock = process.run("small.hello", linked=linked)
        answer = sock.recv(1)
        samples.append(perf_counter() - start)
        assert answer == b"x", answer
        sock.recv(1)
        sock.close()
        row.append(process)
    for process in row:
        process.wait(check=True)
    return {"first": samples}


def rate(wish: report.Wish) -> dict[str, object]:
    """Create, exit, seen; one after another."""
    make, linked = maker(wish.carry), wish.carry in LINKED
    start = perf_counter()
    for _ in range(wish.count):
        process = make()
        sock = process.run("small.nothing", linked=linked)
        process.wait()
        sock.close()
    return {"rate": [(perf_counter() - start) / wish.count]}


def burst(wish: report.Wish) -> dict[str, object]:
    """`width` at once after a second of silence: until all have answered, for each of them."""
    make, samples = maker(wish.carry), []
    for _ in range(wish.count):
        sleep(1)
        start = perf_counter()
        row = []
        for _ in range(wish.width):
            process = make()
            row.append((process, process.run("small.hello")))
        for _, sock in row:
            sock.recv(1)
        samples.append((perf_counter() - start) / wish.width)
        for process, sock in row:
            process.wait()
            sock.close()
    return {"burst": samples}


def memory(wish: report.Wish) -> dict[str, object]:
    """Private memory of idle workers, in bytes: all of them alive, so what is shared is shared."""
    return private_of(wish.count, maker(wish.carry), "small.idle")


if __name__ == "__main__":
    warm = {"memory": 0, "burst": 1}.get(sys.argv[1], 3 if report.wish().carry in DATA else 20)
    report.main({"first": first, "rate": rate, "burst": burst, "memory": memory}, warm=warm)
