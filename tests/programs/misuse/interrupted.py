"""A signal handler raises at each line of what makes, prepares, runs and ends a process, in turn.

What comes out is that very exception, and the template serves. With the part in C, no fd and no
process is left behind; without it, an exception in the middle of a destructor may leave one.
"""

import earlyfork
import gc
import os
import signal
import support
import sys
import warnings


class Late(TimeoutError):  # noqa: N818
    """An OSError, as what a timeout raises is."""


def handler(number, frame):
    raise Late("late")


def interrupt_at(line):
    """Have the handler called when so many lines have been begun."""

    def trace(frame, event, argument):
        nonlocal line
        line -= event == "line"
        if line == 0:
            sys.settrace(None)
            signal.raise_signal(signal.SIGALRM)
        return trace

    return trace


STILL = "def still(sock, *_): sock.recv(1)"


def fork(template):
    return template.fork()


def run(template):
    template.fork().run("still").close()


def prepare(template):
    process = template.fork()
    with open(os.devnull) as file:
        process.send_fh(file).send_arg(b"x", {"a": 1}).eval("pass")
    process.run("still").close()


def new(template):
    process = earlyfork.new(env={**os.environ, "ONE": "more"}, cwd="/").send_arg(1).eval(STILL)
    process.run("still").close()


def clone(template):
    process = template.fork()
    process.fork()
    process.run("still").close()


def hand_over(template):
    earlyfork.new_from_fh(template.fork().to_fh()).close()


def wait(template):
    process = template.fork()
    process.run("still").close()
    process.wait(10)
    process.close()


CALLS = {call.__name__: call for call in (fork, run, prepare, new, clone, hand_over, wait)}
call = CALLS[sys.argv[1]]
warnings.simplefilter("ignore", ResourceWarning)  # a socket that its taker never got
sys.unraisablehook = lambda _: None  # out of a __del__
signal.signal(signal.SIGALRM, handler)
template = earlyfork.new().eval(STILL).ready(10)
template.standby = int(sys.argv[2])
for make in (earlyfork.new, template.fork) * 2:  # so that both keep standbys
    make().run("builtins.id").close()
call(template)


def left():
    """What there is: fds, and processes that are no standbys: of these one may be on its way."""
    gc.collect()
    names = support.session(os.getsid(0)).values()
    return len(support.open_fds()), len(names) - list(names).count("ef-standby")


support.wait_until(lambda: left()[1] == 3)  # this one and two templates
before = left()
wrong = []
for line in range(1, 2000):
    sys.settrace(interrupt_at(line))
    try:
        call(template)
        ended = sys.gettrace() is not None  # and no line came any more
    except Late:
        ended = False
    except Exception as error:
        sys.settrace(None)
        ended = False
        wrong.append((line, error))
    finally:
        sys.settrace(None)
    if ended:
        break
assert not wrong, wrong
assert 20 < line < 1999, line
sock = template.fork().run("still")
sock.sendall(b"!")
assert sock.recv(1) == b""
sock.close()
support.wait_until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)), 20)
