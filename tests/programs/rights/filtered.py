"""Sets a filter of system calls, which nobody can take over, and asks for a process."""

import ctypes

import earlyfork

SECCOMP_RET_ALLOW, BPF_RET = 0x7FFF0000, 6
PRCTL_SECCOMP, PRCTL_NO_NEW_PRIVS = 22, 38


class Program(ctypes.Structure):
    """As sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


earlyfork.new().ready(10).close()
code = ctypes.create_string_buffer(
    BPF_RET.to_bytes(2, "little") + bytes(2) + SECCOMP_RET_ALLOW.to_bytes(4, "little"), 8
)
program = Program(1, ctypes.cast(code, ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(PRCTL_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
assert libc.prctl(PRCTL_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0
process = earlyfork.new().eval("1")
try:
    process.ready(10)
except earlyfork.RemoteError as error:
    assert "can't give them up itself (Seccomp is [0] here and [2] there)" in str(error), error
else:
    raise SystemExit("it was obeyed")
assert process.wait(10) == 1
