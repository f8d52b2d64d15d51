"""What code sets for its whole process stays in that process, and in the clones made of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


PROGRAM = """
import os
{first}
import earlyfork
import support, work

CODE = '''
import os, resource, signal, sys

def change():
    os.umask(0o027)
    os.nice(3)
    for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.chdir("/")
    os.environ["MINE"] = "set"
    sys.path.append("/mine")
    sys.setrecursionlimit(999)

def signals():
    with open("/proc/thread-self/status") as file:
        words = dict(line.split(":") for line in file)
    return [[number for number in range(1, 32) if int(words[name], 16) >> number - 1 & 1]
            for name in ("SigBlk", "SigIgn")]

def seen():
    old = os.umask(0o022)
    os.umask(old)
    return {{
        "umask": old, "nice": os.nice(0), "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "cwd": os.getcwd(), "mine": os.environ.get("MINE"), "path": "/mine" in sys.path,
        "depth": sys.getrecursionlimit(), "signals": signals(),
    }}

def look(sock):
    import work
    work.give(sock, seen())

def change_and_look(sock):
    import earlyfork, work
    change()
    inner = earlyfork.new().eval(CODE)
    found = work.got(inner.run("look"))
    assert inner.wait(10) == 0
    work.give(sock, (seen(), found))
'''
CODE += f"CODE = {{CODE!r}}"

def look(process):
    found = work.got(process.run("look"))
    assert process.wait(10) == 0
    return found

def standby_is_there():
    support.wait_until(lambda: "ef-standby" in support.session(os.getsid(0)).values())
"""

CHANGED = """
blocked, ignored = before["signals"]
after = {**before, "umask": 0o027, "nice": before["nice"] + 3, "files": 200, "cwd": "/",
         "mine": "set", "path": True, "depth": 999,
         "signals": [blocked, sorted({*ignored, 1, 10, 15})]}
assert before["umask"] != 0o027 and before["depth"] != 999 and before["files"] != 200
assert not {1, 10, 15} & set(ignored) and blocked == [], before
"""


@pytest.mark.parametrize("origin", ORIGINS)
def test_it_is_in_no_other_process_of_the_same_template(run_script: Run, origin: str) -> None:
    """Nor is it in those forked ahead. What is blocked is so while it is prepared, and no longer."""
    run_script(
        PROGRAM.format(first=ORIGINS[origin])
        + """
for make in (earlyfork.new, earlyfork.new().eval(CODE).fork):
    before = look(make().eval(CODE))
    prepared_before = make().eval(CODE).ready(10)
    changed = make().eval(CODE).eval("change()").ready(10)
    standby_is_there()
    assert look(make().eval(CODE)) == before
    assert look(prepared_before) == before
"""
        + "".join(f"    {line}\n" for line in CHANGED.strip().splitlines())
        + """
    assert look(changed.fork()) == after, look(changed.fork())
    assert look(changed.fork().fork()) == after
    assert look(make().eval(CODE)) == before
    assert look(changed) == after
    assert look(make().eval(CODE)) == before
""",
        check=True,
        env=support.with_work(),
    )


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_running_worker_changes_nobody_else(run_script: Run, origin: str) -> None:
    """Not even what it makes by new(): of its surroundings only what a caller hands over is there."""
    run_script(
        PROGRAM.format(first=ORIGINS[origin])
        + """
before = look(earlyfork.new().eval(CODE))
template = earlyfork.new().eval(CODE)
"""
        + CHANGED
        + """
for make in (lambda: earlyfork.new().eval(CODE), template.fork):
    process = make()
    own, inner = work.got(process.run("change_and_look"))
    assert process.wait(10) == 0
    after["signals"][0] = [12, 14]  # it blocked them itself
    assert own == after, (own, after)
    assert inner == {**before, "cwd": "/", "mine": "set", "path": True}, inner
    assert look(make()) == before
""",
        check=True,
        env=support.with_work(),
    )


def test_a_snapshot_keeps_its_clones_apart(run_script: Run) -> None:
    run_script(
        PROGRAM.format(first="")
        + """
from earlyfork.template import TEMPLATE
before = look(TEMPLATE.fork().eval(CODE))
changed = TEMPLATE.fork().eval(CODE).eval("change()").ready(10)
standby_is_there()
"""
        + CHANGED
        + """
for _ in range(3):
    assert look(TEMPLATE.fork().eval(CODE)) == before
assert look(changed.fork()) == after
assert look(changed) == after
""",
        check=True,
        env=support.with_work(),
    )
