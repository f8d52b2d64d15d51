"""A prefork server: workers that share one listening socket, each replaced when it dies.

The main program only listens and watches. A template holds the code and the socket, and workers
are forked off it. A worker serves HTTP until its control socket ends, which is how the main
program asks it to leave, and what it sees when the main program is killed.

    python prefork_server.py 8080        # then: curl http://127.0.0.1:8080/ ; Ctrl-C ends it
"""

import earlyfork  # the first line: a clean process is forked here, to be forked from later

import http.server
import os
import select
import selectors
import signal
import socket
import sys
from typing import NamedTuple

WORKERS = 3
PATIENCE = 10  # seconds that a client may be idle, and a worker may take to leave


class Handler(http.server.BaseHTTPRequestHandler):
    """Tells who answers."""

    timeout = PATIENCE

    def do_GET(self) -> None:
        body = f"pid {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep stderr for what is wrong."""


def serve(control: socket.socket, listener: socket.socket) -> None:
    """What a worker does: one request after the other, until `control` ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the main program decides what follows
    listener.setblocking(False)  # a sibling may be faster: then there is nothing to accept
    server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.timeout = 0
    control.sendall(b"!")
    while True:
        readable, _, _ = select.select([control, listener], [], [])
        if control in readable:
            return
        server.handle_request()


class Worker(NamedTuple):
    """What the main program keeps of a worker."""

    process: earlyfork.Process
    control: socket.socket


def start(template: earlyfork.Process) -> Worker:
    """A worker that serves; one that can't is no reason to try the next."""
    process = template.fork()
    control = process.run("prefork_server.serve")
    control.settimeout(PATIENCE)
    if not control.recv(1):
        sys.exit(f"a worker ended with {process.wait()} before it could serve: {process.error}")
    return Worker(process, control)


def replace(worker: Worker, template: earlyfork.Process) -> Worker:
    status = worker.process.wait(timeout=PATIENCE)
    worker.control.close()
    successor = start(template)
    print(f"{worker.process.pid} died ({status}), {successor.process.pid} replaces it", flush=True)
    return successor


def leave(worker: Worker) -> None:
    """Have a worker finish the request in hand; insist if it takes too long."""
    worker.control.close()
    try:
        status = worker.process.wait(timeout=PATIENCE)
    except TimeoutError:
        worker.process.kill()
        status = worker.process.wait()
    print(f"{worker.process.pid} ended with {status}", flush=True)


def main() -> None:
    # A signal becomes a byte that the loop below can wait for like for everything else.
    asked_to_end, note = socket.socketpair()
    note.setblocking(False)
    signal.set_wakeup_fd(note.fileno())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    listener = socket.create_server(("127.0.0.1", port))
    template = earlyfork.new().require("prefork_server").send_fh(listener)
    template.ready(timeout=PATIENCE)  # code that can't be imported is told here, once

    with selectors.DefaultSelector() as selector:
        selector.register(asked_to_end, selectors.EVENT_READ)
        workers = [start(template) for _ in range(WORKERS)]
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        for worker in workers:
            selector.register(worker.process.sentinel, selectors.EVENT_READ, worker)
        while True:
            for key, _ in selector.select():
                if key.fileobj is asked_to_end:
                    for worker in workers:
                        worker.control.close()  # all of them finish at the same time
                    for worker in workers:
                        leave(worker)
                    return
                selector.unregister(key.fileobj)
                workers.remove(key.data)
                workers.append(worker := replace(key.data, template))
                selector.register(worker.process.sentinel, selectors.EVENT_READ, worker)


if __name__ == "__main__":
    main()
