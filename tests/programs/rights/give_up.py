"""Gives up rights in one of several ways, then asks for processes in each of several ways.

Arguments: how, and where an empty directory is. What the workers have is compared with what this
process has; the functions `what` and `same` are run in both.
"""

import ctypes
import os
import sys

import earlyfork

PRCTL_NO_NEW_PRIVS, PRCTL_CAPBSET_DROP = 38, 24


def only_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)


def a_jail():
    os.chroot(sys.argv[2])
    os.chdir("/")


def a_jail_for_nobody():
    a_jail()
    only_nobody()


def for_a_while():
    os.seteuid(1000)


def other_groups():
    os.setgroups([7, 3])


def group_alone():
    os.setgid(65534)


def no_new_privileges():
    assert libc.prctl(PRCTL_NO_NEW_PRIVS, 1, 0, 0, 0) == 0


def all_capabilities_but_two():
    assert libc.prctl(PRCTL_CAPBSET_DROP, 1, 0, 0, 0) == 0
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(head, (ctypes.c_uint32 * 6)(0x401, 0x401, 0, 0, 0, 0)) == 0


SOURCE = """
import os
def what():
    try:
        with open('/proc/thread-self/status') as file:
            wanted = ('Uid', 'Gid', 'Groups', 'NoNewPrivs', 'Cap')
            lines = [line.split() for line in file if line.startswith(wanted)]
    except FileNotFoundError:
        lines = []
    ids = os.getresuid(), os.getresgid(), os.getgroups()
    return repr((*ids, lines, os.stat('/').st_ino))
def tell(sock):
    sock.sendall(what().encode())
"""

how = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
is_jail = "jail" in how
template = earlyfork.new().eval(SOURCE)
prepared = earlyfork.new().eval(SOURCE)
template.fork().ready(10).close()
# What a worker needs to ask for processes can't be loaded later where its files are out of reach.
asking = earlyfork.new().eval("""
import earlyfork
earlyfork.new
def ask(sock, source):
    inner = earlyfork.new().eval(source)
    with inner.run('tell') as told:
        sock.sendall(told.recv(4096))
""")
asking.fork().ready(10).close()
namespace = {}
exec(SOURCE, namespace)
what = namespace["what"]
globals()[how]()

for name, make in {
    "new": lambda: earlyfork.new().eval(SOURCE),
    "prepared": lambda: prepared,
    "forked": template.fork,
    "again": lambda: earlyfork.new().eval(SOURCE),
    "asked for by a worker": lambda: asking.fork().send_arg(SOURCE),
}.items():
    if name not in ("new", "again") and how == "a_jail":
        continue  # root may leave a jail as it likes: what was made before is left where it is
    process = make()
    with process.run("ask" if "asked" in name else "tell") as sock:
        sock.settimeout(10)
        found = sock.recv(4096).decode()
    if not found:
        process.wait(10, check=True)
    assert found == what(), f"{name}:\n{found}\n{what()}"
    process.terminate()  # by now it may be signalled
    process.wait(10)
