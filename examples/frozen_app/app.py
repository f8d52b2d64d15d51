"""One program that becomes one binary, and makes all its processes where there is no Python.

A library shrinks a picture in a process that it makes for itself. Three workers then serve the
result over HTTP from one listening socket that they share; the program asks them for it, and prints
what each process cost and how it ended.

    pyinstaller --onefile app.py
"""

import earlyfork  # the first line: a clean process is forked here, to be forked from later

import http.client
import http.server
import os
import select
import socket
import sys
import time

import thumbs

WORKERS = 3
REQUESTS = 4  # for each worker
CRASH = 42


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a page from memory, and tells who answered."""

    protocol_version = "HTTP/1.1"
    timeout = 30  # an idle client must not hold a worker for ever
    pages: dict[str, bytes]

    def do_GET(self) -> None:
        body = self.pages.get(self.path, b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Worker", str(os.getpid()))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep stderr for what is wrong."""


def serve(control: socket.socket, listener: socket.socket, pages: dict[str, bytes]) -> None:
    """What a worker does: serve HTTP on the shared listener until `control` ends or orders."""
    Handler.pages = pages
    server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    listener.setblocking(False)  # a sibling may be faster: then there is nothing to accept
    control.sendall(b"ready")
    while True:
        readable, _, _ = select.select([control, listener], [], [])
        if control in readable:
            sys.exit(CRASH if control.recv(1) else 0)
        server.handle_request()


# A second template: this program as it is here, with the modules and functions above.
from earlyfork.template import TEMPLATE


class Row:
    """One line of the table: a process, what it cost, how it should end."""

    def __init__(self, name: str, origin: str, end: int) -> None:
        self.name, self.origin, self.end = name, origin, end
        self.start = time.perf_counter()
        self.created = self.answered = 0.0

    def made(self) -> None:
        """The call that makes the process has returned."""
        self.created = time.perf_counter() - self.start

    def heard(self) -> None:
        """Its first answer is here."""
        self.answered = time.perf_counter() - self.start


def ask(address: tuple[str, int]) -> dict[int, int]:
    """Fetch the picture over one connection for each worker; how often each pid answered."""
    answers: dict[int, int] = {}
    # A worker stays with a connection while that is open, so each worker gets one.
    clients = [http.client.HTTPConnection(*address, timeout=30) for _ in range(WORKERS)]
    for _ in range(REQUESTS):
        for client in clients:
            client.request("GET", "/small.png")
            response = client.getresponse()
            body = response.read()
            if response.status != 200 or not body.startswith(b"\x89PNG"):
                sys.exit(f"bad answer: {response.status} {body[:20]!r}")
            pid = int(response.headers["X-Worker"])
            answers[pid] = answers.get(pid, 0) + 1
    for client in clients:
        client.close()
    return answers


def main() -> None:
    """Make the processes, use them, end them, tell."""
    # A library that knows nothing of this program: its processes are forks of the early template.
    picture = thumbs.draw(width=240, height=160)
    made = []
    for number in (1, 2):
        row = Row(f"library's {number}", "early template", end=0)
        shrinker = thumbs.Shrinker()
        row.made()
        small = shrinker.shrink(picture, factor=4)
        row.heard()
        shrinker.close()
        made.append((row, shrinker.process))

    # Workers that share one listening socket: forks of the snapshot.
    listener = socket.create_server(("127.0.0.1", 0))
    controls = []
    for number, end in enumerate((0, CRASH, -15), start=1):
        row = Row(f"HTTP worker {number}", "snapshot", end)
        process = TEMPLATE.fork().send_fh(listener).send_arg({"/small.png": small})
        control = process.run("serve")
        row.made()
        control.recv(5)
        row.heard()
        made.append((row, process))
        controls.append(control)
    answers = ask(listener.getsockname())

    # Each ends in its own way: asked to, with a status of its own, by a signal.
    controls[0].close()
    controls[1].sendall(b"x")
    made[-1][1].terminate()

    print(f"binary   {sys.executable}, pid {os.getpid()}")
    print(f"early    {earlyfork.status().reason}")
    print(f"picture  240 x 160 pixels shrunk to {len(small)} bytes of PNG, then served over HTTP")
    print()
    print("process           made from           pid  call ms  answer ms  requests  exit")
    for row, process in made:
        end = process.wait(timeout=30)
        print(
            f"{row.name:<17} {row.origin:<15} {process.pid:>7} {row.created * 1e3:>8.2f}"
            f" {row.answered * 1e3:>10.2f} {answers.get(process.pid) or '':>9} {end:>5}"
        )
        if end != row.end:
            sys.exit(f"{row.name} ended with {end} instead of {row.end}")
    if not earlyfork.status().early:
        sys.exit("there was no early template")
    if sorted(answers.values()) != [REQUESTS] * WORKERS:
        sys.exit(f"the workers did not share the requests: {answers}")


if __name__ == "__main__":
    main()
