"""A kernel that knows no SO_LOCK_FILTER, as that of qemu-user and gVisor: a filter of calls says so."""

import ctypes
import errno
import platform
import socket
import struct

SETSOCKOPT = {"x86_64": 54, "aarch64": 208}[platform.machine()]
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
STEPS = [
    (LOAD, 0, 0, 0),  # the number of the call
    (JUMP_EQUAL, 0, 5, SETSOCKOPT),
    (LOAD, 0, 0, 24),  # its second argument
    (JUMP_EQUAL, 0, 3, socket.SOL_SOCKET),
    (LOAD, 0, 0, 32),
    (JUMP_EQUAL, 0, 1, 44),  # SO_LOCK_FILTER
    (RETURN, 0, 0, 0x0005_0000 | errno.ENOPROTOOPT),
    (RETURN, 0, 0, 0x7FFF_0000),
]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in STEPS))
program = ctypes.create_string_buffer(struct.pack("HP", len(STEPS), ctypes.addressof(filters)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP, FILTER

import earlyfork

WORK = """
import earlyfork
def work(sock):
    process = earlyfork.new().eval("def tell(sock): sock.sendall(b'inner')")
    with process.run("tell") as inner:
        sock.sendall(inner.recv(10))
    raise SystemExit(process.wait(10) + 5)
"""
for template in (earlyfork.new(), earlyfork.new_exec()):
    process = template.eval(WORK)
    with process.run("work") as sock:
        print(sock.makefile().read(), process.wait(10))
