"""Has workers that are in other namespaces ask again and again; HOW they got there is the argument."""

import earlyfork
import support
import sys
import work
from earlyfork._child import hearing

ASKS = """
import ctypes, earlyfork, os, pickle, earlyfork._origin.new as _
PR_CAPBSET_DROP = 24
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS = 0x10000000, 0x40000000, 0x20000
libc = ctypes.CDLL(None, use_errno=True)

def goes(how):
    if how == "network":
        assert not libc.unshare(CLONE_NEWNET)
    elif how == "capabilities, then a namespace where it has all":
        for number in range(64):
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert not libc.capset(head, none)
        assert not libc.unshare(CLONE_NEWUSER)

def asks(sock, how, times):
    earlyfork.sibling().ready(10).close()  # from here it is made
    goes(how)
    answers = []
    for _ in range(times):
        try:
            earlyfork.sibling().ready(10).close()
            answers.append("made")
        except Exception as error:
            answers.append(type(error).__name__)
    sock.sendall(pickle.dumps(answers))
"""
how = sys.argv[1]
process = earlyfork.new().eval(ASKS).send_arg(how, hearing.MOST_REFUSALS + 3)
answers = work.got(process.run("asks"))
assert process.wait(10) == 0
refused = ["PermissionError"] * hearing.MOST_REFUSALS
assert answers == [*refused, "TemplateDied", "TemplateDied", "TemplateDied"], answers
assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
pid = earlyfork.status().templates[0].pid
support.wait_until(lambda: len(support.children(pid)) <= 3)
