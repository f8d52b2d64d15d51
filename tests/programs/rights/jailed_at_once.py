"""Goes to an empty root right after the import, and uses all that it could need."""

import earlyfork  # isort: skip
import os
import sys

os.chroot(sys.argv[1])
os.chdir("/")
before = set(sys.modules)

process = earlyfork.new().eval("def f(sock, *sent): sock.sendall(repr(sent).encode())")
with process.send_arg(1).send_arg({"a": None}).run("f", linked=True) as sock:
    assert sock.recv(100) == b"(1, {'a': None})"
assert process.wait(10) == 0
assert "early template: yes" in str(earlyfork.status())
process = earlyfork.new().eval("def f(sock): 1 / 0")
process.run("f").close()
try:
    process.wait(10, check=True)
except earlyfork.RemoteError as error:
    assert "ZeroDivisionError" in str(error)
try:
    earlyfork.new_exec(executable=sys.executable)
except (earlyfork.LaunchError, FileNotFoundError) as error:
    assert sys.executable in str(error), error
template = earlyfork.new().eval("import os")
with template.fork().run("os:fspath"):
    pass
template.fork().close()
assert set(sys.modules) == before, set(sys.modules) - before
