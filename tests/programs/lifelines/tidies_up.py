"""Has a linked worker that writes to LOG when it gets SIGTERM."""

import earlyfork
import sys

worker = earlyfork.new().eval("""
def f(sock, path):
    import signal, sys
    def tidy(*_):
        with open(path, "w") as file:
            file.write("tidied up")
        sys.exit(0)
    signal.signal(signal.SIGTERM, tidy)
    sock.sendall(b"!")
    while True:
        signal.pause()
""")
sock = worker.send_arg(sys.argv[1]).run("f", linked=True)
assert sock.recv(1) == b"!"
print(worker.pid, flush=True)
sys.stdin.readline()
