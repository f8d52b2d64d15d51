"""Sent to the processes of fuzz_up.py: says anything at all on all that it has, with any files."""

import array
import contextlib
import ctypes
import encodings.idna  # noqa: F401 - without rights none of these can be loaded later
import fcntl
import os
import pickle  # noqa: F401 - for what is sent later
import random
import resource
import select
import signal
import socket
import threading

import earlyfork._child.here
import earlyfork._origin.new  # noqa: F401 - for what nobody may load later
from earlyfork._shared import wire
from earlyfork._shared.payloads import UP_HEAD

OPS = sorted({wire.NEW, wire.SIBLING, wire.ERROR, wire.IS_READY, wire.PARK, wire.ADOPT, wire.LINK,
              wire.FULL, wire.UNREHEARSED, wire.RUNS})  # fmt: skip
PAYLOADS = [b"", b"S", b"1", b"-1", b"9" * 20, b"\xff\0" * 9, bytes(65_536), bytes(70_000)]
#: As many as one message can carry.
SCM_MAX_FD = 253
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
#: What was made and is still needed: sockets whose other end is to live.
kept = []
#: Whether this process leaves its files open to its end, which lets go of them without a wait.
leaves_open = False


def confine(how):
    """Give up rights, with and without another uid."""
    if how == "nobody":
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    elif how == "no new privileges":
        prctl = ctypes.CDLL(None).prctl
        for number in range(41):
            prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


# -- files of many kinds ----------------------------------------------------------------------


def pair(kind=socket.SOCK_STREAM):
    """Two ends; the other one lives on."""
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    kept.append(near)
    return far.detach()


def closed_peer():
    near, far = socket.socketpair()
    near.close()
    return far.detach()


def full():
    near, far = socket.socketpair()
    far.setblocking(False)
    kept.append(near)
    try:
        while True:
            far.send(bytes(65536))
    except BlockingIOError:
        far.setblocking(True)
        return far.detach()


def lingering():
    """A connection whose close waits for a peer that does not read: not its close at an exit."""
    if not leaves_open:
        return pair()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        sock = socket.create_connection(listener.getsockname())
        kept.append(listener.accept()[0])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, array.array("i", (1, 60)).tobytes())
    sock.setblocking(False)
    try:
        while True:
            sock.send(bytes(65536))
    except BlockingIOError:
        return sock.detach()


def carries_files():
    """A socket in which more of them wait, itself among them."""
    near, far = socket.socketpair()
    socket.send_fds(near, [b"x"], [near.fileno(), far.fileno(), *ways_up()[:1]])
    near.close()
    return far.detach()


def pipe(which):
    fds = os.pipe()
    os.close(fds[1 - which])
    return fds[which]


def epoll():
    poller = select.epoll()
    for fd in ways_up():
        poller.register(fd)
    kept.append(poller)
    return os.dup(poller.fileno())


def dead_pidfd():
    pid = os.fork()
    if not pid:
        os._exit(0)
    fd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    return fd


FILES = [
    pair, pair, pair, closed_peer, full, lingering, carries_files, epoll, dead_pidfd,
    lambda: pair(socket.SOCK_DGRAM),
    lambda: pair(socket.SOCK_SEQPACKET),
    lambda: socket.socket(socket.AF_UNIX).detach(),
    lambda: socket.socket().detach(),
    lambda: socket.socket(type=socket.SOCK_DGRAM).detach(),
    lambda: pipe(0),
    lambda: pipe(1),
    lambda: os.open("/dev/full", os.O_WRONLY),
    lambda: os.open("/dev/null", os.O_RDONLY),
    lambda: os.open("/", os.O_PATH),
    lambda: os.memfd_create("liar"),
    lambda: os.pidfd_open(os.getpid()),
    lambda: os.pidfd_open(1),
    lambda: os.dup(random.choice(inherited())),
]  # fmt: skip


def drop(fds):
    for fd in () if leaves_open else fds:
        os.close(fd)


def makes(rng, count):
    """So many fds; fewer if there is no room."""
    fds = []
    try:
        if count > 3 or rng.random() < 0.3:  # one and the same
            fd = rng.choice(FILES)()
            fds = [fd, *(os.dup(fd) for _ in range(count - 1))]
        elif rng.random() < 0.2 and count == 2:  # the two ends of one pair
            fds = [end.detach() for end in socket.socketpair()]
        else:
            for _ in range(count):
                fds.append(rng.choice(FILES)())
    except OSError:
        return fds
    return fds


# -- what is said -----------------------------------------------------------------------------


def inherited():
    """All fds but the streams."""
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    return [fd for fd in found if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")] or [0]


def ways_up():
    """Where this process was made, that is what keeps messages whole."""
    found = []
    for fd in inherited():
        with as_socket(fd) as sock:
            if sock and sock.family == socket.AF_UNIX and sock.type == socket.SOCK_SEQPACKET:
                found.append(fd)
    return found


@contextlib.contextmanager
def as_socket(fd):
    """A copy of it; None if it is no socket."""
    copy = os.dup(fd)
    try:
        sock = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        yield None
    else:
        with sock:
            yield sock


def message(rng):
    text = rng.choice((*PAYLOADS, rng.randbytes(rng.randrange(60))))
    op = rng.choice(OPS) if rng.random() < 0.8 else rng.randrange(256)
    text = bytearray(UP_HEAD.pack(op, rng.choice((os.getpid(), 0, 1, 2**32 - 1))) + text)
    if rng.random() < 0.2:
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del text[rng.randrange(len(text)) :]
    return bytes(text)


def ancillary(rng, fds):
    found = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    if rng.random() < 0.1:
        name = array.array("i", (rng.choice((os.getpid(), 1)), rng.choice((0, os.getuid())), 0))
        found.append((socket.SOL_SOCKET, socket.SCM_CREDENTIALS, name))
    return found


def say(rng, sock, times=1):
    count = rng.choice((0, 0, 0, 1, 2, 2, 2, 3, 20, SCM_MAX_FD))
    fds = makes(rng, count)
    flags = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL | rng.choice((0, 0, 0, socket.MSG_OOB))
    text = message(rng)
    try:
        for _ in range(times):
            sock.sendmsg([text], ancillary(rng, fds), flags)
    finally:
        drop(fds)


def ask(rng, sock, times=1):
    """What any process may ask for, which is granted or refused."""
    fds = makes(rng, 2)
    op = rng.choice((wire.NEW, wire.SIBLING))
    try:
        for _ in range(times):
            socket.send_fds(sock, [UP_HEAD.pack(op, os.getpid())], fds, socket.MSG_DONTWAIT)
    finally:
        drop(fds)


def change(rng, sock):
    number = rng.choice((*range(80), socket.SO_SNDBUF, socket.SO_RCVBUF, socket.SO_LINGER))
    if number == socket.SO_RCVTIMEO:
        return
    value = rng.choice((b"\0\0\0\0", b"\1\0\0\0", b"\1\0\0\0" * 4, rng.randbytes(16)))
    sock.setsockopt(rng.choice((socket.SOL_SOCKET, 0, 6)), number, value)


def flag(rng, sock):
    if os.getuid():  # else it could send that signal itself
        fcntl.fcntl(sock, fcntl.F_SETOWN, os.getppid())
        fcntl.fcntl(sock, fcntl.F_SETSIG, rng.choice((0, signal.SIGKILL)))
    fcntl.fcntl(sock, fcntl.F_SETFL, rng.choice((0, os.O_NONBLOCK, os.O_ASYNC)))


def by_a_child(rng, sock):
    """A process that nobody knows says something, after this one's end as well."""
    global leaves_open
    pid = os.fork()
    if not pid:
        leaves_open = True
        for _ in range(30):
            attempt(rng, say, sock)
        os._exit(0)
    if rng.random() < 0.5:
        os.waitpid(pid, 0)


ACTS = [
    *([say] * 12), *([ask] * 6), change, change, flag, by_a_child,
    lambda rng, sock: say(rng, sock, 100),
    lambda rng, sock: ask(rng, sock, 50),
    lambda rng, sock: sock.shutdown(rng.randrange(3)) if rng.random() < 0.1 else None,
    lambda _, sock: sock.recv(100, socket.MSG_DONTWAIT),
    lambda rng, sock: sock.send(rng.randbytes(300), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL),
]  # fmt: skip


def attempt(rng, act, sock):
    try:
        act(rng, sock)
    except (OSError, OverflowError):
        if leaves_open:
            return
    if len(kept) > 200:
        for file in kept:
            file.close()
        kept.clear()


def lie(seed, acts):
    """So many acts, mostly on the way up, some on all else that is a socket here."""
    rng = random.Random(seed)
    random.seed(seed)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
    for _ in range(acts):
        up = ways_up()
        if not up:
            return
        fd = rng.choice(up if rng.random() < 0.9 else inherited())
        with as_socket(fd) as sock:
            if sock:
                attempt(rng, rng.choice(ACTS), sock)


def lie_meanwhile(seed, acts):
    """Whatever becomes of this process meanwhile."""
    threading.Thread(target=lie, args=(seed, acts), daemon=True).start()


def lies(_sock, seed, acts, code):
    """What a worker runs."""
    lie(seed, acts)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def lies_alone(_sock, seed, acts, code):
    """There is no way up."""
    assert not ways_up()
    lies(_sock, seed, acts, code)
