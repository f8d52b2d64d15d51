"""A script in one file whose own functions run in processes, with no guard around anything.

A snapshot is the program as it is on the line that imports TEMPLATE, so nothing is imported or run
a second time: this prints its first line once, however many processes it makes.

    python single_file.py
"""

import os
import socket

print("loading, once")
greeting = "hello"


def greet(sock: socket.socket, name: str) -> None:
    """Runs in a process of its own, and sees everything above the snapshot."""
    me = "a process of its own" if os.getpid() != main_pid else "the main program"
    sock.sendall(f"{greeting} {name}, this is {me}".encode())


main_pid = os.getpid()

from earlyfork.template import TEMPLATE

greeting = "too late: the snapshot is taken"

for name in ("Ada", "Grace"):
    process = TEMPLATE.fork().send_arg(name)
    with process.run(greet) as sock:  # by name works as well: run("greet")
        print(sock.makefile().read())
    process.wait(check=True)
