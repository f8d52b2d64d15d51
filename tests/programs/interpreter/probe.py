"""Prints what would be launched, sys.executable of what was, and whether that is the same binary."""

import earlyfork
import os
import sys

choice = earlyfork.status().interpreter
p = earlyfork.new_exec().eval("""
import os, sys
def f(sock):
    exe = os.readlink("/proc/self/exe")
    text = "\\n".join([sys.executable or "", sys.prefix, sys.base_prefix, exe])
    sock.sendall(text.encode())
""")
sock = p.run("f")
with sock.makefile() as file:
    there = file.read().split("\n")
assert p.wait(10) == 0
assert there[1:3] == [sys.prefix, sys.base_prefix], (there, sys.prefix)
print(choice)
print(there[0])
print(os.path.samefile(there[3], "/proc/self/exe"))
