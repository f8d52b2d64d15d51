"""Linked workers whose template was killed: they end with their owner all the same, and not before.

The orderly way, by the forker, is tested in test_lifelines.py; here it is gone, or stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_lifelines import LINKED, WITH_WORK, told

import support

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux signals the end of a socket (F_SETSIG)"
)

#: How a main program begins for each kind of template, and where its workers come from.
ORIGINS = {
    "early": ("", "earlyfork.new"),
    "launched": ("os.environ['EARLYFORK'] = '0'", "earlyfork.new"),
    "in Python": ("os.environ['EARLYFORK_PURE'] = '1'", "earlyfork.new"),
    "prepared": ("", "template.fork"),
    "snapshot": ("", "template.fork"),
}


def head(origin: str) -> str:
    """The first lines of a main program: `make()`, and `kill_template()`, which waits for that."""
    first, make = ORIGINS[origin]
    template = {
        "prepared": "earlyfork.new().ready(10)",
        "snapshot": "__import__('earlyfork.template').template.snapshot()",
    }.get(origin, "None")
    return f"""
import os
{first}
import earlyfork
import gc, json, signal, subprocess, support, sys, textwrap, warnings, work
template = {template}

def make():
    return {make}().require("work")

def forker():
    return template.pid if template else earlyfork.status().templates[0].pid

def kill_template():
    pid = forker()
    os.kill(pid, signal.SIGKILL)
    assert support.gone_within(pid)

def holders(fd):
    "The processes of this session that have the very same end of a socket."
    found, name = set(), os.readlink(f"/proc/self/fd/{{fd}}")
    for pid in support.session(os.getsid(0)):
        for number in os.listdir(f"/proc/{{pid}}/fd"):
            try:
                if os.readlink(f"/proc/{{pid}}/fd/{{number}}") == name:
                    found.add(pid)
            except FileNotFoundError:
                pass
    return found

def fds(pid="self"):
    return len(os.listdir(f"/proc/{{pid}}/fd"))
"""


@pytest.mark.parametrize("handle", ["held", "closed", "dropped", "asked", "closed before"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_main_is_killed_after_the_template(start_script: Start, origin: str, handle: str) -> None:
    """Whatever they do, and whatever became of the handles, they live as long as main does."""
    process = start_script(
        head(origin)
        + f"""
bodies, handle = {LINKED!r}, {handle!r}
made, socks = [], []
for body in bodies.values():
    code = "def f(sock):\\n" + textwrap.indent(body, "    ")
    if "sock.sendall" not in body:
        code = code.replace("\\n    ", "\\n    sock.sendall(b'!')\\n    ", 1)
    made.append(make().eval(code))
    socks.append(made[-1].run("f", linked=True))
    assert socks[-1].recv(1) == b"!"
pids = [worker.pid for worker in made]
support.wait_until(lambda: support.state(pids[-1]) == "T")
while handle == "closed before" and made:
    made.pop().close()
kill_template()
while handle == "closed" and made:
    made.pop().close()
for worker in made if handle == "asked" else ():
    try:
        worker.wait(10)
    except earlyfork.ProcessLost:
        worker.close()
    else:
        raise AssertionError("a status was invented")
if handle == "dropped":
    del made
    gc.collect()
earlyfork.status()  # looks after those without a handle
assert all(support.alive(pid) for pid in pids), [support.describe(pid) for pid in pids]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
""",
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    assert len(pids) == len(LINKED)
    assert all(support.alive(pid) for pid in pids)
    support.assert_all_end_with(process, dict(zip(LINKED, pids, strict=True)), 5)


@pytest.mark.parametrize("end", ["held", "closed", "dropped"])
@pytest.mark.parametrize("origin", ORIGINS)
def test_they_live_and_work_as_long_as_main(run_script: Run, origin: str, end: str) -> None:
    """Nothing but the end of all holders is an end; and no fd stays when they have ended."""
    run_script(
        head(origin)
        + f"""
socks, pids = [], []
made = [make() for _ in range(8)]
for worker in made:
    socks.append(worker.run(work.echo_stream, linked=True))
def all_answer():
    for sock in socks:
        sock.sendall(b"are you there?")
    return all(sock.recv(100) == b"are you there?" for sock in socks)
assert all_answer()
pids = [worker.pid for worker in made]
lines = {{os.readlink(f"/proc/self/fd/{{worker._watch.line}}") for worker in made}}
assert len(lines) == 8
kill_template()
assert all_answer()
if {end == "closed"}:
    for worker in made:
        worker.close()
if {end != "held"}:
    del worker, made
gc.collect()
earlyfork.status()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    other = earlyfork.new()  # from a new template
sock = other.run(work.hold, linked=True)  # looks after those without a handle, too
assert sock.recv(1) == b"!"
assert all_answer()
sock.close()
assert other.wait(10) == 0
for sock in socks:
    sock.close()
for pid in pids:
    assert support.gone_within(pid)
if {end == "held"}:
    for worker in made:
        worker.close()
def ours():
    earlyfork.status()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{{number}}"))
        except FileNotFoundError:
            pass
    return found
support.wait_until(lambda: not lines & ours())
""",
        check=True,
        env=WITH_WORK,
    )


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("step", ["_add", "_flush", "_send"])
def test_a_child_of_main_holds_nothing_that_is_being_sent(
    run_script: Run, step: str, linked: bool
) -> None:
    """As if another thread had forked just then: neither lines nor files of the user's."""
    run_script(
        head("early")
        + f"""
def files():
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{{number}}"))
        except FileNotFoundError:  # the one that lists them
            pass
    return found

worker = make().ready(10)
known = files()
with open("sent", "w") as file:
    worker.send_fh(file)
kind, step = type(worker), {step!r}
real = getattr(kind, step)

def forks_first(self, *args):
    setattr(kind, step, real)
    if not (pid := os.fork()):
        os._exit(bool(files() - known))
    assert os.waitpid(pid, 0)[1] == 0
    return real(self, *args)

setattr(kind, step, forks_first)
sock = worker.run(work.hold, linked={linked})
assert getattr(kind, step) is real
assert sock.recv(1) == b"!"
sock.close()
assert worker.wait(10) == 0
""",
        check=True,
        env=WITH_WORK,
    )


@pytest.mark.parametrize("how", ["forks", "forks while it sends", "executes"])
def test_a_child_of_main_keeps_nobody_alive(start_script: Start, how: str) -> None:
    """What main forked lives on, and holds nothing that a linked worker hangs on."""
    read, write = os.pipe()
    process = start_script(
        head("early")
        + f"""
worker = make().ready(10)
read, children = {read}, []

def fork_a_child():
    if pid := os.fork():
        children.append(pid)
        return
    print(worker._watch.line, flush=True)
    sys.stdin.close()
    os.read(read, 1)
    os._exit(0)

def forks_first(self, head, fds, bulk=b""):
    assert len(fds) == 3
    type(self)._send = send
    if not (pid := os.fork()):
        still_open = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{{fd}}")]
        os._exit(len(still_open))
    assert os.waitpid(pid, 0)[1] == 0
    fork_a_child()
    return send(self, head, fds, bulk)

send = type(worker)._send
if {how == "forks while it sends"}:
    type(worker)._send = forks_first
sock = worker.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
if {how == "forks"}:
    fork_a_child()
if {how == "executes"}:
    children.append(subprocess.Popen(["cat"], stdin=read, close_fds=False).pid)
    print(-1, flush=True)
# A standby, a prepared process, a clone and another worker.
more = [make().ready(10), make()]
more += [more[0].fork().ready(10), make()]
other = more[1].run(work.hold, linked=True)
assert other.recv(1) == b"!"
support.wait_until(lambda: holders(worker._watch.line) == {{os.getpid(), forker()}})
kill_template()
assert holders(worker._watch.line) == {{os.getpid()}}
print(json.dumps([worker.pid, children]), flush=True)
sys.stdin.readline()
""",
        stdin=subprocess.PIPE,
        env=WITH_WORK,
        pass_fds=[read],
    )
    os.close(read)
    assert told(process) == -1
    worker, children = told(process)
    assert len(children) == 1
    assert support.alive(worker)
    process.kill()
    process.wait()
    assert support.gone_within(worker, 5), support.describe(worker)
    assert support.alive(children[0])
    os.close(write)
    assert support.gone_within(children[0])


def test_the_template_is_killed_within_the_grace(start_script: Start) -> None:
    """Stopped, it keeps the worker alive as it did before; nothing comes after its end."""
    process = start_script(
        head("early")
        + """
worker = make()
sock = worker.run(work.stubborn, linked=True)
assert sock.recv(1) == b"!"
os.kill(forker(), signal.SIGSTOP)
support.wait_until(lambda: support.state(forker()) == "T")
print(json.dumps([worker.pid, forker()]), flush=True)
sys.stdin.readline()
""",
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    worker, template = told(process)
    process.kill()
    process.wait()
    assert support.alive(worker)
    os.kill(template, signal.SIGKILL)
    assert support.gone_within(worker, 5), support.describe(worker)


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_owner_is_a_worker(run_script: Run, origin: str) -> None:
    """Main lives on, the template is dead, and the owner is killed, which is linked itself."""
    run_script(
        head(origin)
        + """
outer = make()
sock = outer.run(work.owns, linked=True)
inner = int(sock.recv(100))
pid = outer.pid
kill_template()
sock.sendall(b"?")
assert sock.recv(1) == b"!"  # the inner one answered the outer one
os.kill(pid, signal.SIGKILL)
assert support.gone_within(inner, 5), support.describe(inner)
""",
        check=True,
        env=WITH_WORK,
    )


def test_a_child_of_the_worker_is_nobodys(run_script: Run) -> None:
    """It has the worker's end of the line, is not its owner, and is hit by nothing."""
    run_script(
        head("early")
        + """
worker = make()
line = worker.run(work.leaves_a_child, linked=True).makefile()
child = int(line.readline())
assert worker.wait(10) == 0
kill_template()
worker.close()
gc.collect()
assert support.alive(child)
os.kill(child, signal.SIGKILL)
assert support.gone_within(child)
""",
        check=True,
        env=WITH_WORK,
    )


@pytest.mark.parametrize("origin", ORIGINS)
def test_no_fd_stays(run_script: Run, origin: str) -> None:
    """Neither here nor at the forker; while they run, each has one for its second line."""
    run_script(
        head(origin)
        + """
def linked(count, function):
    made = [make() for _ in range(count)]
    return made, [worker.run(function, linked=True) for worker in made]

def quiet():
    earlyfork.status()  # looks after those without a handle
    names = [support.comm(pid) for pid in support.children(forker())]
    # Of each standby, of which there may be more than it should keep, a forker has one fd.
    return {*names} == {"ef-standby"} and (fds(), fds(forker()) - len(names))

def settled():
    seen = []
    support.wait_until(lambda: seen.append(quiet()) or seen[-1] and seen[-2:-1] == seen[-1:])
    return seen[-1]

for _ in range(2):  # what is made once is there
    made, socks = linked(3, work.hold)
    assert all(sock.recv(1) == b"!" for sock in socks)
    for sock in socks:
        sock.close()
    assert [worker.wait(10) for worker in made] == [0] * 3
    del made
    gc.collect()
before = settled()
for end in ("waited for", "closed", "dropped", "killed"):
    ours = fds()
    made, socks = linked(10, work.hold)
    assert fds() == ours + 10 * 3  # a stream, a status socket, the second line
    assert all(sock.recv(1) == b"!" for sock in socks)
    if end == "closed":
        for worker in made:
            worker.close()
    if end == "dropped":
        worker = None
        del made
    if end == "killed":
        for worker in made:
            worker.kill()
    for sock in socks:
        sock.close()
    if end in ("waited for", "killed"):
        assert len({worker.wait(10) for worker in made}) == 1
        assert fds() == ours + 10  # the handles' status sockets
        for worker in made:
            worker.close()
    support.wait_until(lambda: quiet() == before)
    assert settled() == before
""",
        check=True,
        env=WITH_WORK,
    )


def test_an_interrupted_run_leaves_nothing(run_script: Run) -> None:
    """It can be tried again, or dropped."""
    run_script(
        head("early")
        + """
def interrupted(self, head, fds, bulk=b""):
    raise KeyboardInterrupt

for _ in range(2):  # what is made once is there
    make().ready(10).close()
before = fds()
worker = make().ready(10)
ours = fds()
send, type(worker)._send = type(worker)._send, interrupted
for _ in range(3):
    try:
        worker.run(work.hold, linked=True)
    except KeyboardInterrupt:
        assert fds() == ours
    else:
        raise AssertionError("nothing was sent")
type(worker)._send = send
sock = worker.run(work.hold, linked=True)
assert sock.recv(1) == b"!"
sock.close()
assert worker.wait(10) == 0
worker = make().ready(10)
assert fds() == ours
type(worker)._send = interrupted
try:
    worker.run(work.hold, linked=True)
except KeyboardInterrupt:
    pass
del worker
gc.collect()
assert fds() == before
""",
        check=True,
        env=WITH_WORK,
    )


def test_no_fd_to_be_had(run_script: Run) -> None:
    """The call says so, holds nothing, and works when there is room."""
    run_script(
        head("early")
        + """
import resource
limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
worker = make().ready(10)
for room in range(8):
    filled = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        while True:
            filled.append(os.dup(0))
    except OSError:
        pass
    for fd in filled[:room]:
        os.close(fd)
    try:
        sock = worker.run(work.hold, linked=True)
    except OSError as error:
        assert error.errno == 24 and "linked" in str(error), error
        sock = None
    count = 0
    try:
        while True:
            filled.append(os.dup(0))
            count += 1
    except OSError:
        pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    for fd in filled[room:]:
        os.close(fd)
    if sock is not None:
        break
    assert count == room, (count, room)
assert room >= 3
assert sock.recv(1) == b"!"
kill_template()
sock.sendall(b"more")
assert worker.state == "running" or support.alive(worker.pid)
sock.close()
""",
        check=True,
        env=WITH_WORK,
    )


def test_the_worker_closed_everything(start_script: Start) -> None:
    """Then it has the first line only: the template ends it, and nothing does without one."""
    process = start_script(
        head("early")
        + """
made = [make(), make()]
socks = [worker.run(work.closes_all, linked=True) for worker in made]
assert all(sock.recv(1) == b"!" for sock in socks)
print(json.dumps([worker.pid for worker in made]), flush=True)
sys.stdin.readline()
""",
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    process.kill()
    process.wait()
    assert all(support.gone_within(pid, 5) for pid in pids)
