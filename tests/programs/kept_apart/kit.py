"""What the programs here share: to ask a process what is set there, and what should be."""

import support
import work

CODE = support.program("kept_apart/there.py")


def look(process):
    """What is set in a process, which ends."""
    found = work.got(process.run("look"))
    assert process.wait(10) == 0
    return found


def changed(before):
    """What must be seen where all was changed, when this was seen before."""
    blocked, ignored = before["signals"]
    assert before["umask"] != 0o027 and before["depth"] != 999 and before["files"] != 200
    assert not {1, 10, 15} & set(ignored) and blocked == [], before
    return {
        **before,
        "umask": 0o027,
        "nice": before["nice"] + 3,
        "files": 200,
        "cwd": "/",
        "mine": "set",
        "path": True,
        "depth": 999,
        "signals": [blocked, sorted({*ignored, 1, 10, 15})],
    }
