"""Launches each PYTHON, which launches what it is itself, and what this is."""

import earlyfork
import os
import sys

SOURCE = """
import sys
def say(sock):
    sock.sendall(b"%d.%d " % sys.version_info[:2])
    sock.close()
def ask(sock, source, path, back):
    say(sock.dup())
    sys.path.insert(0, path)
    import earlyfork
    for options in ({}, {"executable": back}):
        process = earlyfork.new_exec(**options).eval(source)
        with process.run("say") as there, there.makefile("rb") as file:
            sock.sendall(file.read())
        assert process.wait(10) == 0
    sock.close()
"""
home = os.path.dirname(os.path.dirname(earlyfork.__file__))
for path in sys.argv[1:]:
    process = earlyfork.new_exec(executable=path).eval(SOURCE)
    process.send_arg(SOURCE, home, sys.executable)
    with process.run("ask") as sock, sock.makefile() as file:
        print(file.read().strip())
    assert process.wait(10) == 0
