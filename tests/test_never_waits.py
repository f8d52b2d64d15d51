"""SEMANTICS, "creating never waits": whoever should answer is held still until all calls are back.

No clock is in these tests. The main program itself lets the other side go on, after the last call:
one call that waits for an answer waits for ever, and the program is killed by its deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from pathlib import Path

    from support import Run


#: Each call that makes, prepares, runs, hands over or drops a process; what is checked later.
ALL_CALLS = """
import os
{first}
import earlyfork
import signal, socket, support, sys, tempfile, work

def hold_still(pid):
    os.kill(pid, signal.SIGSTOP)
    support.wait_until(lambda: support.state(pid) == "T")

def prepare(process, tag):
    "Every call that prepares; less than a socket's buffer holds."
    process.require("work").eval("x = [args[0]]", tag).call("builtins.len", "abc")
    return process.send_fh(0, sys.stdout).send_arg(tag, b"x" * 20_000, {{"any": "value"}})

def all_calls(make, tag):
    "The processes, with the sockets of those that run."
    run = [prepare(make(), tag) for _ in range(4)]  # more than wait forked ahead
    socks = [process.run(work.types) for process in run]
    run.append(make().send_arg(tag))
    socks.append(run[-1].run("work.types", linked=True))
    template = prepare(make(), tag)
    clones = [template.fork(), template.fork().send_arg(1), template.fork().fork()]
    run += [*clones, template]
    socks += [clone.run("work.types") for clone in clones] + [template.run("work.types")]
    taken = earlyfork.new_from_fh(prepare(make(), tag).to_fh())
    run.append(taken.fork())
    socks.append(run[-1].run("work.types"))
    run.append(taken)
    socks.append(taken.run("work.types"))
    for process in (make(), prepare(make(), tag)):
        process.close()
    del process
    prepare(make(), tag)  # and dropped
    for process in run:
        assert process.poll() is None and process.error is None
        repr(process), process.sentinel, process.state
    str(earlyfork.status())
    return run, socks

def check(made):
    "Now that all may go on: nothing of it was lost."
    run, socks = made
    assert len(run) == len(socks) == 11
    for process, sock in zip(run, socks):
        found = work.got(sock)
        assert found and found[-1 if len(found) == 1 else 2][0] == "str", found
        assert process.wait(20) == 0
"""


def body(origin: str, text: str) -> str:
    return ALL_CALLS.format(first=ORIGINS[origin]) + text


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_default_template_is_stopped(run_script: Run, origin: str) -> None:
    run_script(
        body(
            origin,
            """
earlyfork.new().ready(10).close()
pid = earlyfork.status().templates[0].pid
hold_still(pid)
made = all_calls(earlyfork.new, "stopped")
assert support.state(pid) == "T"
os.kill(pid, signal.SIGCONT)
check(made)
""",
        ),
        check=True,
        env=support.with_work(),
    )


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_process_is_stopped_while_it_is_prepared_and_forked(run_script: Run, origin: str) -> None:
    run_script(
        body(
            origin,
            """
stopped = earlyfork.new().ready(10)
pid = stopped.pid
hold_still(pid)
made = all_calls(stopped.fork, "stopped")
prepare(stopped, "too")
sock = stopped.run("work.types")
assert support.state(pid) == "T"
os.kill(pid, signal.SIGCONT)
check(made)
assert len(work.got(sock)) == 5
assert stopped.wait(20) == 0
""",
        ),
        check=True,
        env=support.with_work(),
    )


BUSY = {
    "in an import": 'process.require("very_slow")',
    "in code": 'process.eval("import very_slow")',
    "in a call": 'process.call("importlib.import_module", "very_slow")',
}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", BUSY)
def test_a_process_is_busy_for_long(run_script: Run, tmp_path: Path, origin: str, how: str) -> None:
    """What it was told takes as long as it takes; meanwhile it is prepared further and forked."""
    (tmp_path / "very_slow.py").write_text("with open('gate') as gate: gate.read()\n")
    run_script(
        body(
            origin,
            f"""
os.mkfifo("gate")
process = earlyfork.new()
{BUSY[how]}
gate = open("gate", "w")  # both ends are open: it is in the middle of that
made = all_calls(process.fork, "busy")
try:
    process.ready(0)
except TimeoutError:
    gate.close()
check(made)
process.ready(20).close()
""",
        ),
        check=True,
        env=support.with_work(),
    )


@pytest.mark.parametrize("origin", ORIGINS)
def test_what_was_launched_does_not_begin(run_script: Run, origin: str) -> None:
    """Not even the interpreter is there yet, and all is queued for the processes to come."""
    run_script(
        body(
            origin,
            """
os.mkfifo("gate")
with open("slow", "w") as file:
    file.write(f"#!/bin/sh\\nread line < {os.getcwd()}/gate\\nexec {sys.executable} \\"$@\\"\\n")
os.chmod("slow", 0o755)
earlyfork.set_executable(os.path.abspath("slow"))
process = earlyfork.new_exec(executable=os.path.abspath("slow"))
made = all_calls(process.fork, "launched")
with open("gate", "w") as gate:
    gate.write("go on\\n")
check(made)
process.ready(20).close()
""",
        ),
        check=True,
        env=support.with_work(),
        timeout=30,
    )
