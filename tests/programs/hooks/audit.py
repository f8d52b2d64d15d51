"""A template's audit hook sees each fork, and may forbid it in words that reach who asked."""

import os

import earlyfork

import support

template = earlyfork.new()
template.standby = 0
template.eval(
    """
import sys

seen = []
words = []

def hook(event, args):
    if event == "os.fork":
        seen.append(event)
        if words:
            raise words[0]

sys.addaudithook(hook)

def count(sock):
    sock.sendall(b"%d" % len(seen))
"""
)
for number in range(1, 5):
    with template.fork().run("count") as sock:
        assert sock.recv(10) == b"%d" % number


def refused(process):
    for ask in (process.wait, process.ready, process.poll, lambda: process.pid):
        try:
            ask()
        except OSError as error:
            found = error
        except earlyfork.RemoteError as error:  # what `ready` says of it
            assert "RuntimeError: the policy of this house" in str(error), error
    assert process.state == "never made"
    return found


template.eval("words.append(RuntimeError('the policy of this house'))").ready(10)
support.wait_until(lambda: not support.children(template.pid))
template.eval("pass").ready(10)  # by now it has closed what it held for the last of them
fds = support.open_fds(template.pid)
for _ in range(5):
    error = refused(template.fork())
    assert "RuntimeError: the policy of this house" in str(error), error
    assert type(error.__cause__) is earlyfork.RemoteError, error.__cause__
support.wait_until(lambda: support.open_fds(template.pid) == fds)

# What is said as the kernel says it is told like that.
template.eval("import os; words[:] = [BlockingIOError(11, os.strerror(11))]").ready(10)
error = refused(template.fork())
assert (error.errno, error.__cause__) == (11, None), error
assert os.strerror(11) in str(error), error

template.eval("words.clear()").ready(10)
with template.fork().run("count") as sock:
    assert sock.recv(10) == b"11"

# Those that are forked ahead: nobody asked, so nobody is told.
template.standby = 2
with template.fork().run("count") as sock:
    assert sock.recv(10) == b"12"
support.wait_for_standby()
template.eval("words.append(RuntimeError('the policy of this house'))").ready(10)
assert "policy" in str(refused(template.fork()))
template.eval("words.clear()").ready(10)
with template.fork().run("count") as sock:
    assert int(sock.recv(10)) > 12
