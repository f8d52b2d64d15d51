"""Each call that makes, prepares, runs, hands over or drops a process; what is checked later."""

import os
import signal
import sys

import earlyfork
import support
import work


def hold_still(pid):
    os.kill(pid, signal.SIGSTOP)
    support.wait_until(lambda: support.state(pid) == "T")


def prepare(process, tag):
    """Every call that prepares; less than a socket's buffer holds."""
    process.require("work").eval("x = [args[0]]", tag).call("builtins.len", "abc")
    return process.send_fh(0, sys.stdout).send_arg(tag, b"x" * 20_000, {"any": "value"})


def all_calls(make, tag):
    """The processes, with the sockets of those that run."""
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
    """Now that all may go on: nothing of it was lost."""
    run, socks = made
    assert len(run) == len(socks) == 11
    for process, sock in zip(run, socks, strict=True):
        found = work.got(sock)
        assert found and found[-1 if len(found) == 1 else 2][0] == "str", found
        assert process.wait(20) == 0
