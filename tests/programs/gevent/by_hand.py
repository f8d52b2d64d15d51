"""Somebody else's functions stand where the system's were, as eventlet and freezegun put them.

`before` or `after` the import, or in the `template` that workers come from. Each of them raises.
"""

import sys

WAY = sys.argv[1]

REPLACE = """
import _thread, os, select, signal, sys, time

def no(*_, **__):
    raise RuntimeError("somebody else's function was called")

for module, names in (
    (os, "fork forkpty wait wait3 wait4 waitid waitpid read write close kill posix_spawn"),
    (select, "select"),
    (time, "sleep monotonic"),
    (signal, "signal getsignal set_wakeup_fd"),
    (_thread, "start_new_thread"),
):
    for name in names.split():
        setattr(module, name, no)
for name in "poll", "epoll":
    delattr(select, name)
sys.setrecursionlimit(400)
"""


def use(earlyfork):
    template = earlyfork.new()
    if WAY == "template":
        template.eval(REPLACE)
    for code in range(4):
        process = template.fork().send_arg(code)
        process.run("there.ends").close()
        assert process.wait(10) == code
    process = template.fork()
    sock = process.run("there.says_it_is_there")
    assert sock.recv(1) == b"!"
    assert process.poll() is None
    try:
        process.wait(0.05)
    except TimeoutError:
        process.kill()
    assert process.wait(10) == -9
    sock.close()
    made = earlyfork.new_exec().send_arg(3)
    made.run("there.ends").close()
    assert made.wait(10) == 3
    return template.pid


if WAY == "before":
    exec(REPLACE)
    import warnings

    warnings.simplefilter("ignore")
import earlyfork

if WAY == "after":
    exec(REPLACE)
print(use(earlyfork))
if WAY == "template":
    import support

    (root,) = [entry.pid for entry in earlyfork.status().templates if entry.name != "template"]
    support.wait_until(lambda: "Z" not in map(support.state, support.children(root)))
