"""Which functions of `os` are replaced, until the first of them is called."""

import os

names = ("chroot", "setuid", "seteuid", "setreuid", "setresuid")
before = {name: getattr(os, name) for name in names}

import earlyfork

worker = earlyfork.new().eval(
    "import os\ndef f(sock): sock.sendall(repr([type(getattr(os, n)).__name__ "
    f"for n in {names!r}]).encode())"
)
with worker.run("f") as sock:
    assert sock.recv(1000).decode() == repr(["builtin_function_or_method"] * 5)
assert all(getattr(os, name) is not before[name] for name in names)
assert os.setuid.__name__ == "setuid"
assert os.setuid.__doc__ == before["setuid"].__doc__
try:
    os.seteuid("nobody")
except TypeError:
    assert {name: getattr(os, name) for name in names} == before
else:
    raise SystemExit("a name is no number")
