"""Has workers without rights ask again and again; HOW they lost them is the argument."""

import earlyfork
import support
import sys
import work
from earlyfork._child import hearing

ASKS = """
import ctypes, earlyfork, os, pickle, earlyfork._origin.new as _
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWNS = 0x10000000, 0x40000000, 0x20000
libc = ctypes.CDLL(None, use_errno=True)

def gives_up(how):
    if how == "ids":
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    elif how == "effective id":
        os.seteuid(65534)
    elif how == "no new privileges":
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    elif how == "root directory":
        os.chroot("/proc")
    elif how == "network":
        assert not libc.unshare(CLONE_NEWNET)
    elif how == "capabilities, then a namespace where it has all":
        for number in range(64):
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert not libc.capset(head, none)
        assert not libc.unshare(CLONE_NEWUSER)

def asks(sock, how, times):
    earlyfork.sibling().ready(10).close()  # with rights it is made
    gives_up(how)
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
