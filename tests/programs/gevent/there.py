"""What runs in the workers."""

import select
import sys
import time


def exits(sock, code, seconds=0.0):
    time.sleep(seconds)
    raise SystemExit(code)


def says_what_it_is(sock):
    clean = "gevent" not in sys.modules and type(select.poll) is type(len)
    sock.sendall(b"clean" if clean else b"patched")


def says_it_is_there(sock):
    sock.sendall(b"!")
    sock.recv(1)


def uses_its_loop(sock, number):
    """Several greenlets with timers, one that waits at a socket, and threads of gevent's pool."""
    import gevent
    from gevent import socket

    near, far = socket.socketpair()
    reader = gevent.spawn(near.recv, 10)
    done = []
    for n in range(5):
        gevent.spawn_later(0.005 * n, done.append, n)
    gevent.spawn_later(0.03, far.send, b"%d" % number)
    assert reader.get(timeout=10) == b"%d" % number
    assert done == [0, 1, 2, 3, 4], done
    assert socket.getaddrinfo("localhost", 80)
    near.close()
    far.close()
    raise SystemExit(number)


def patches_itself(sock, number):
    from gevent import monkey

    monkey.patch_all()
    import subprocess
    import threading

    heard = []
    thread = threading.Thread(target=lambda: heard.append(time.sleep(0.01)))
    thread.start()
    thread.join()
    assert heard == [None]
    assert subprocess.run(["true"], timeout=10, check=False).returncode == 0
    threading.Thread(target=lambda: (time.sleep(0.02), sock.sendall(b"late"))).start()
    raise SystemExit(number)


def ends(sock, code):
    raise SystemExit(code)
