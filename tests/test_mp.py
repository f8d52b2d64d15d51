"""The multiprocessing start method: every program here is a process of its own.

Each test runs with an early template and without. A program must exit with status 0 and leave
stderr empty: that is how a leaked semaphore, or a resource tracker that complains, shows.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., str]
    Start = Callable[..., subprocess.Popen[str]]

HEAD = """\
import multiprocessing as mp
import multiprocessing.connection
import os, signal, sys, threading
import earlyfork.mp
ctx = mp.get_context("earlyfork")
"""
GUARD = 'if __name__ == "__main__":\n'


@pytest.fixture(params=["early", "launched"])
def origin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(origin: str, tmp_path: Path) -> Run:
    """Run a program: what it defines, and what it then does under a guard."""

    def run(defines: str, does: str, *args: str, **options: Any) -> str:
        source = program(origin, defines, does)
        done = support.run_script(source, *args, directory=tmp_path, **options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    return run


def program(origin: str, defines: str, does: str = "") -> str:
    first = "import earlyfork\n" if origin == "early" else ""
    body = GUARD + "".join(f"    {line}\n" for line in does.splitlines()) if does else ""
    return first + HEAD + defines + "\n" + body


# --- the name -------------------------------------------------------------------------------------


def test_import_leaves_the_default_start_method_open(run: Run) -> None:
    out = run(
        "",
        """\
assert mp.get_start_method(allow_none=True) is None
mp.set_start_method("earlyfork")
assert mp.get_start_method() == "earlyfork"
assert mp.get_context().get_start_method() == "earlyfork"
assert earlyfork.mp.get_context() is mp.get_context("earlyfork")
print(mp.get_context("earlyfork").Process.__name__)
""",
    )
    assert out == "EarlyForkProcess\n"


@pytest.mark.parametrize("other", ["spawn", "forkserver"])
def test_other_methods_work_beside_it(run: Run, other: str) -> None:
    """Their children look up the default's name before they have our sys.path."""
    out = run(
        """\
def show(q):
    q.put((mp.get_start_method(), type(mp.current_process()).__name__))
""",
        f"""\
mp.set_start_method("earlyfork")
for method in ("{other}", "earlyfork", "{other}"):
    c = mp.get_context(method)
    q = c.SimpleQueue()
    p = c.Process(target=show, args=(q,))
    p.start()
    print(*q.get())
    p.join()
    assert p.exitcode == 0
""",
    )
    stock = {"spawn": "spawn SpawnProcess", "forkserver": "forkserver ForkServerProcess"}[other]
    assert out.splitlines() == [stock, "earlyfork EarlyForkProcess", stock]


def test_a_spawned_child_finds_the_method_without_our_path(tmp_path: Path) -> None:
    """The package may lie where only the parent's sys.path leads."""
    source = f"""\
    import sys
    sys.path.append({str(support.home_of_earlyfork())!r})
    import multiprocessing as mp
    import earlyfork.mp
    def show(q):
        q.put(mp.get_start_method())
    if __name__ == "__main__":
        mp.set_start_method("earlyfork")
        c = mp.get_context("spawn")
        q = c.SimpleQueue()
        p = c.Process(target=show, args=(q,))
        p.start()
        print(q.get())
        p.join()
    """
    done = support.run_script(source, directory=tmp_path, flags=("-S",), env={"PYTHONPATH": None})
    assert (done.stdout, done.stderr, done.returncode) == ("spawn\n", "", 0)


def test_the_name_travels_as_plain_text_otherwise(run: Run) -> None:
    out = run("", "import pickle\nprint(type(pickle.loads(pickle.dumps(ctx.get_start_method()))))")
    assert out == "<class 'str'>\n"


def test_all_names_work_in_a_worker(run: Run) -> None:
    out = run(
        """\
def double(x):
    return 2 * x
def nest(q):
    with mp.get_context("earlyfork").Pool(1) as pool:
        q.put(pool.map(double, [1, 2]))
    with mp.Pool(1) as pool:
        q.put(pool.map(double, [3]))
    q.put(mp.get_start_method())
""",
        """\
q = ctx.SimpleQueue()
p = ctx.Process(target=nest, args=(q,))
p.start()
print(q.get(), q.get(), q.get())
p.join()
assert p.exitcode == 0
""",
    )
    assert out == "[2, 4] [6] earlyfork\n"


# --- what is built on it --------------------------------------------------------------------------


def test_pool(run: Run) -> None:
    out = run(
        "def square(x):\n    return x * x",
        """\
with ctx.Pool(3) as pool:
    print(pool.map(square, range(6)), pool.apply(square, (7,)))
pool = ctx.Pool(2, maxtasksperchild=1)
print(pool.map(square, range(4), chunksize=1))
pool.close()
pool.join()
""",
    )
    assert out == "[0, 1, 4, 9, 16, 25] 49\n[0, 1, 4, 9]\n"


def test_queue_items_are_there_when_the_worker_has_ended(run: Run) -> None:
    """A feeder thread sends them in the exit functions of the worker."""
    out = run(
        "def fill(q):\n    for n in range(100):\n        q.put(str(n) * 1000)",
        """\
q = ctx.Queue()
p = ctx.Process(target=fill, args=(q,))
p.start()
print(sum(len(q.get()) for _ in range(100)))
p.join()
assert p.exitcode == 0
""",
    )
    assert out == "190000\n"


def test_executor(run: Run) -> None:
    out = run(
        """\
from concurrent.futures import ProcessPoolExecutor
def work(x):
    if x == 3:
        raise ValueError("three")
    return x * x
state = []
def begin(x):
    state.append(x)
def show(_):
    return state
""",
        """\
with ProcessPoolExecutor(2, mp_context=ctx, initializer=begin, initargs=(5,)) as executor:
    print(list(executor.map(work, range(3))), executor.submit(show, 0).result())
    try:
        executor.submit(work, 3).result()
    except ValueError as error:
        print(error)
with ProcessPoolExecutor(2, mp_context=ctx, max_tasks_per_child=1) as executor:
    print(executor.submit(work, 5).result())
"""
        if sys.version_info >= (3, 11)
        else """\
with ProcessPoolExecutor(2, mp_context=ctx, initializer=begin, initargs=(5,)) as executor:
    print(list(executor.map(work, range(3))), executor.submit(show, 0).result())
    try:
        executor.submit(work, 3).result()
    except ValueError as error:
        print(error)
print(25)
""",
    )
    assert out == "[0, 1, 4] [5]\nthree\n25\n"


def test_manager(run: Run) -> None:
    out = run(
        "def put(d, k):\n    d[k] = os.getpid() != 0",
        """\
with ctx.Manager() as manager:
    d = manager.dict()
    workers = [ctx.Process(target=put, args=(d, k)) for k in range(3)]
    for p in workers: p.start()
    for p in workers: p.join()
    print(sorted(d.items()))
""",
    )
    assert out == "[(0, True), (1, True), (2, True)]\n"


def test_locks_and_shared_memory(run: Run) -> None:
    out = run(
        """\
from multiprocessing.shared_memory import SharedMemory
def add(n, lock, name):
    for _ in range(50):
        with lock:
            n.value += 1
    there = SharedMemory(name)
    there.buf[0] += 1
    there.close()
""",
        """\
memory = SharedMemory(create=True, size=10)
n, lock = ctx.Value("i", 0, lock=False), ctx.Lock()
for _ in range(1):
    workers = [ctx.Process(target=add, args=(n, lock, memory.name)) for _ in range(3)]
    for p in workers:
        p.start()
    for p in workers:
        p.join()
print(n.value, memory.buf[0] > 0, [p.exitcode for p in workers])
memory.close()
memory.unlink()
""",
    )
    assert out == "150 True [0, 0, 0]\n"


def test_fds_and_connections_travel(run: Run) -> None:
    out = run(
        """\
import socket
def talk(connection, sock, lots):
    for c in lots:
        c.send(1)
    sock.sendall(b"over a socket")
    connection.send("over a pipe")
""",
        """\
a, b = ctx.Pipe()
s, t = socket.socketpair()
lots = [ctx.Pipe() for _ in range(150)]
p = ctx.Process(target=talk, args=(b, t, [far for _, far in lots]))
p.start()
b.close()
t.close()
print(a.recv(), s.recv(100).decode(), sum(near.recv() for near, _ in lots))
p.join()
""",
    )
    assert out == "over a pipe over a socket 150\n"


def test_large_arguments(run: Run) -> None:
    out = run(
        "def size(q, data):\n    q.put(len(data))",
        """\
q = ctx.SimpleQueue()
p = ctx.Process(target=size, args=(q, bytes(30_000_000)))
p.start()
print(q.get())
p.join()
""",
    )
    assert out == "30000000\n"


def test_what_cannot_be_pickled_starts_nothing(run: Run) -> None:
    out = run(
        "",
        """\
fds = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc") else 0
p = ctx.Process(target=lambda: None)
for _ in range(3):
    try:
        p.start()
    except Exception as error:
        print(type(error).__name__, p.exitcode, mp.active_children())
""",
    )
    assert len(out.splitlines()) == 3
    assert all(line.endswith("None []") for line in out.splitlines())


# --- how processes end ----------------------------------------------------------------------------


def test_exit_codes(run: Run) -> None:
    out = run(
        """\
def end(how):
    how = int(how) if how.lstrip("-").isdigit() else how
    if how == "raise":
        sys.stderr = open(os.devnull, "w")
        raise ValueError
    if how == "text":
        sys.stderr = open(os.devnull, "w")
        sys.exit("a message")
    if how == "_exit":
        os._exit(77)
    if how == "none":
        sys.exit()
    if isinstance(how, int) and how < 0:
        os.kill(os.getpid(), -how)
        signal.pause()
    sys.exit(how)
""",
        """\
for how in ("0", "1", "7", "255", "raise", "text", "_exit", "none", "-9", "-15", "-6", "-11"):
    p = ctx.Process(target=end, args=(how,))
    p.start()
    p.join()
    print(how, p.exitcode)
    p.close()
""",
    )
    got = dict(line.split() for line in out.splitlines())
    assert got == {
        **{n: n for n in ("0", "1", "7", "255", "-9", "-15", "-6", "-11")},
        "raise": "1",
        "text": "1",
        "_exit": "77",
        "none": "0",
    }


def test_terminate_kill_is_alive_sentinel(run: Run) -> None:
    out = run(
        "def wait(c):\n    c.send(1)\n    signal.pause()",
        """\
for name in ("terminate", "kill"):
    a, b = ctx.Pipe()
    p = ctx.Process(target=wait, args=(b,))
    p.start()
    a.recv()
    assert p.is_alive() and p.exitcode is None
    assert not mp.connection.wait([p.sentinel], 0)
    p.join(0)
    p.join(0.01)
    assert p.is_alive()
    assert p in mp.active_children()
    getattr(p, name)()
    assert mp.connection.wait([p.sentinel], 20) == [p.sentinel]
    p.join()
    assert not p.is_alive() and mp.active_children() == []
    assert mp.connection.wait([p.sentinel], 0)
    print(p.exitcode)
    p.close()
""",
    )
    assert out == "-15\n-9\n"


def test_poll_from_many_threads_loses_no_exit_code(run: Run) -> None:
    out = run(
        "def end(n):\n    sys.exit(n)",
        """\
codes = []
def start_some():
    for n in range(8):
        p = ctx.Process(target=end, args=(n,))
        p.start()  # polls the children of all threads
        p.join()
        codes.append((n, p.exitcode))
threads = [threading.Thread(target=start_some) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(len(codes), all(n == code for n, code in codes))
""",
    )
    assert out == "32 True\n"


def test_parent_process(run: Run) -> None:
    out = run(
        """\
def look(c):
    parent = mp.parent_process()
    c.send((parent.pid, parent.is_alive(), parent.name))
""",
        """\
a, b = ctx.Pipe()
p = ctx.Process(target=look, args=(b,))
p.start()
print(a.recv() == (os.getpid(), True, "MainProcess"))
p.join()
""",
    )
    assert out == "True\n"


def test_orphans_see_the_end_of_their_parent(
    origin: str, start_script: Start, tmp_path: Path
) -> None:
    """A process that is no daemon outlives its parent and can tell."""
    source = program(
        origin,
        """\
def outlive(path):
    with open(path, "w") as pipe:
        print(os.getpid(), file=pipe, flush=True)
        mp.parent_process().join()
        print("orphan", file=pipe, flush=True)
""",
        """\
os.mkfifo("pipe")
ctx.Process(target=outlive, args=("pipe",)).start()
print("started", flush=True)
signal.pause()
""",
    )
    process = start_script(source)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    with (tmp_path / "pipe").open() as pipe:
        pid = int(pipe.readline())
        process.kill()
        process.wait()
        assert pipe.read() == "orphan\n"
    assert support.gone_within(pid)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("what", ["process", "pool", "executor", "nested"])
def test_daemons_and_pools_die_with_a_killed_parent(
    origin: str, start_script: Start, what: str, *, busy: bool
) -> None:
    source = program(
        origin,
        f"""\
from concurrent.futures import ProcessPoolExecutor
def spin(_=None):
    print(os.getpid(), flush=True)
    while {busy}:
        pass
    signal.pause()
def nest():
    print(os.getpid(), flush=True)
    p = ctx.Process(target=spin)
    p.start()
    spin()
""",
        """\
what = sys.argv[1]
if what == "pool":
    pool = ctx.Pool(2)
    pool.map_async(spin, range(2), chunksize=1)
elif what == "executor":
    pool = ProcessPoolExecutor(2, mp_context=ctx)
    for _ in range(2): pool.submit(spin)
else:
    for _ in range(2):
        ctx.Process(target=nest if what == "nested" else spin, daemon=True).start()
signal.pause()
""",
    )
    process = start_script(source, what)
    assert process.stdout is not None
    pids = {int(process.stdout.readline()) for _ in range(6 if what == "nested" else 2)}
    assert all(support.alive(pid) for pid in pids)
    process.kill()
    process.wait()
    for pid in pids:
        assert support.gone_within(pid), support.describe(pid)
    # What keeps the streams open is a template or a tracker that stayed.
    assert support.eof_within(process.stdout.fileno())


def test_daemons_end_with_their_parent(run: Run) -> None:
    out = run(
        """\
def wait(c):
    c.send(os.getpid())
    signal.pause()
""",
        """\
a, b = ctx.Pipe()
ctx.Process(target=wait, args=(b,), daemon=True).start()
print(a.recv())
""",
    )
    assert support.gone_within(int(out))


def test_daemons_may_have_children(run: Run) -> None:
    out = run(
        """\
def add(x):
    with ctx.Pool(2) as pool:
        return sum(pool.map(inner, range(x)))
def inner(x):
    with ctx.Pool(1) as pool:
        return pool.apply(int, (x,))
""",
        """\
with ctx.Pool(2) as pool:
    print(pool.map(add, [2, 4]))
""",
    )
    assert out == "[1, 6]\n"


def test_atexit_of_the_worker_runs_and_of_the_main_module_does_not(run: Run) -> None:
    out = run(
        """\
import atexit
@atexit.register
def of_main():
    print("main's", os.getpid() == int(os.environ.get("MAIN", 0)), flush=True)
def work():
    atexit.register(print, "worker's", flush=True)
""",
        """\
os.environ["MAIN"] = str(os.getpid())
p = ctx.Process(target=work)
p.start()
p.join()
""",
    )
    assert out == "worker's\nmain's True\n"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs to see the death of a stranger")
def test_a_killed_template_is_replaced(run: Run) -> None:
    """A living worker stays alive in our eyes; what nobody can know is the stdlib's 255."""
    out = run(
        """\
def wait(c):
    c.send(os.getppid())
    c.recv()
def end():
    sys.exit(3)
""",
        """\
a, b = ctx.Pipe()
p = ctx.Process(target=wait, args=(b,))
p.start()
b.close()
template = a.recv()
death = os.pidfd_open(template)
os.kill(template, signal.SIGKILL)
mp.connection.wait([death, p.sentinel])
mp.connection.wait([death])
os.close(death)
assert p.is_alive()
q = ctx.Process(target=end)
q.start()
q.join()
print(q.exitcode, p.is_alive())
a.send(1)
p.join()
print(p.exitcode)
""",
    )
    assert out == "3 True\n255\n"


# --- the main module ------------------------------------------------------------------------------


STARTS = {
    "Process": "p = ctx.Process(target=work, args=(3,)); p.start(); p.join(); print(p.exitcode)",
    "Pool": "with ctx.Pool(2) as pool: print(pool.map(work, [1, 2]))",
    "executor": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(2, mp_context=ctx) as e: print(list(e.map(work, [1, 2])))"
    ),
    "Manager": "with ctx.Manager() as m: d = m.dict(); d[1] = 2; print(d)",
    "default": 'mp.set_start_method("earlyfork")\nwith mp.Pool(2) as p: print(p.map(work, [1, 2]))',
}


@pytest.mark.parametrize("start", STARTS)
def test_script_without_a_guard(origin: str, run_script: Callable[..., Any], start: str) -> None:
    source = program(
        origin,
        f"""\
print("top level")
def work(x):
    return x + offset
offset = 10
{STARTS[start]}
""",
    )
    done = run_script(source)
    result = {"Process": "0", "Manager": "{1: 2}"}.get(start, "[11, 12]")
    assert (done.stdout, done.stderr, done.returncode) == (f"top level\n{result}\n", "", 0)


def test_main_runs_once_for_all_workers(run: Run) -> None:
    out = run(
        """\
with open("runs", "a") as f:
    print(__name__, os.getpid(), file=f)
print("top level")
class Thing:
    pass
def pid(thing):
    assert type(thing) is Thing
    return os.getpid()
def nest(thing):
    with ctx.Pool(1) as pool:
        return pool.map(pid, [thing])
""",
        """\
with ctx.Pool(3) as pool:
    pool.map(pid, [Thing()] * 9, chunksize=1)
for target in (pid, nest):
    p = ctx.Process(target=target, args=(Thing(),))
    p.start()
    p.join()
    assert p.exitcode == 0
print(*[line.split()[0] for line in open("runs")])
""",
    )
    assert out == "top level\n__main__ __mp_main__\n"


def test_a_main_module_run_by_name(origin: str, tmp_path: Path) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(
        program(
            origin,
            "from . import __name__ as package\ndef show():\n    return package, __spec__.name",
            "with ctx.Pool(1) as pool:\n    print(pool.apply(show))",
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "app.cli"],
        cwd=tmp_path,
        env=support.clean_env(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("('app', 'app.cli')\n", "", 0)


def test_a_main_module_that_fails_says_so_in_the_worker(
    origin: str, run_script: Callable[..., Any]
) -> None:
    source = program(
        origin,
        'def f():\n    pass\nif __name__ != "__main__":\n    raise ValueError("not twice")',
        "p = ctx.Process(target=f)\np.start()\np.join()\nprint(p.exitcode)",
    )
    done = run_script(source)
    assert (done.stdout, done.returncode) == ("1\n", 0)
    assert done.stderr.strip().endswith("ValueError: not twice")
    assert "mp/child.py" not in done.stderr


def test_without_a_main_file(origin: str) -> None:
    code = program(origin, "import operator") + (
        "p = ctx.Pool(1); print(p.apply(operator.add, (1, 2))); p.close(); p.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=support.clean_env(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)


def test_locks_of_the_main_module(run: Run) -> None:
    """Made once more in the template, usable there and further down, unlinked in the end."""
    out = run(
        """\
lock = ctx.Lock()
queue = ctx.Queue()
def use(lock):
    with lock:
        pass
def pass_on():
    p = ctx.Process(target=use, args=(lock,))
    p.start()
    p.join()
    sys.exit(p.exitcode)
""",
        """\
p = ctx.Process(target=pass_on)
p.start()
p.join()
print(p.exitcode)
""",
    )
    assert out == "0\n"


# --- the template ---------------------------------------------------------------------------------


def test_a_template_of_the_user(run: Run) -> None:
    out = run(
        """\
def show():
    return "decimal" in sys.modules, os.environ.get("OF_TEMPLATE")
""",
        """\
t = earlyfork.new(env={**os.environ, "OF_TEMPLATE": "1"}).require("decimal")
own = earlyfork.mp.get_context(template=t)
for c in (own, ctx):
    with c.Pool(1) as pool:
        print(*pool.apply(show))
class Mine(own.Process):
    pass
p = own.Process(target=show)
p.start()
p.join()
print(p.exitcode, isinstance(p, ctx.Process), issubclass(Mine, ctx.Process))
try:
    earlyfork.mp.get_context(template="numpy")
except TypeError as error:
    print(error)
""",
    )
    assert out.splitlines() == [
        "True 1",
        "False None",
        "0 True True",
        "template= takes an earlyfork.Process, not str",
    ]


def test_a_snapshot_needs_no_second_run_of_main(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """\
        import earlyfork
        import multiprocessing as mp, os
        import earlyfork.mp
        runs = open("runs", "a")
        print(__name__, file=runs, flush=True)
        def pid(x):
            return x + 1
        def nest(x):
            with mp.get_context("earlyfork").Pool(1) as pool:
                return pool.apply(pid, (x,))
        from earlyfork.template import TEMPLATE
        ctx = earlyfork.mp.get_context(template=TEMPLATE)
        with ctx.Pool(2) as pool:
            print(pool.map(nest, [1, 2]))
        print(open("runs").read())
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n__main__\n\n", "", 0)


@pytest.mark.parametrize("where", ["ctx", "mp"])
def test_preload(run: Run, where: str) -> None:
    out = run(
        """\
def show():
    return "decimal" in sys.modules
""",
        f"""\
mp.set_start_method("earlyfork")
with ctx.Pool(1) as pool:
    print(pool.apply(show))
{where}.set_forkserver_preload(["decimal", "there_is_no_such_module", "__main__"])
with ctx.Pool(1) as pool:
    print(pool.apply(show))
try:
    {where}.set_forkserver_preload([1])
except TypeError:
    print("refused")
""",
    )
    # Up to 3.10 the stdlib's own function checks the list that was set before, not this one.
    unchecked = where == "mp" and sys.version_info < (3, 11)
    assert out == "False\nTrue\n" + "refused\n" * (not unchecked)


def test_set_executable(run: Run, tmp_path: Path) -> None:
    wrapper = tmp_path / "python-of-mine"
    wrapper.write_text(f'#!/bin/sh\necho launched >&2\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    out = run(
        "def show():\n    return 5",
        """\
saved = os.dup(2)
os.dup2(os.open("launches", os.O_WRONLY | os.O_CREAT), 2)
mp.set_executable(sys.argv[1])
for _ in range(2):
    with ctx.Pool(1) as pool:
        print(pool.apply(show))
os.dup2(saved, 2)
""",
        str(wrapper),
    )
    assert out == "5\n5\n"
    # One for the template; the resource tracker is the stdlib's, and is launched as ever.
    assert (tmp_path / "launches").read_text() in {"launched\n", "launched\n" * 2}


def test_flags_of_the_interpreter(tmp_path: Path, origin: str) -> None:
    source = program(
        origin,
        "def show():\n    return tuple(sys.flags)",
        "with ctx.Pool(1) as pool:\n    print(pool.apply(show) == tuple(sys.flags))",
    )
    env = {"PYTHONPATH": support.python_path()}  # with -S nothing is found that was installed
    flags = ("-S", "-O", "-Werror")
    done = support.run_script(source, directory=tmp_path, flags=flags, env=env)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


# --- a worker sees its caller as it is now --------------------------------------------------------


def test_a_worker_sees_the_caller_as_it_is_now(run: Run) -> None:
    out = run(
        """\
import resource
def look():
    return {
        "env": os.environ.get("LATE"),
        "removed": os.environ.get("REMOVED"),
        "cwd": os.getcwd() == os.environ["WHERE"],
        "path": "/late" in sys.path,
        "argv": sys.argv[-1],
        "umask": oct(os.umask(0)),
        "nice": os.nice(0) - int(os.environ["NICE"]),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
        "hup": str(signal.getsignal(signal.SIGHUP)),
        "usr1": str(signal.getsignal(signal.SIGUSR1)),
        "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "name": mp.current_process().name,
        "key": bytes(mp.current_process().authkey),
    }
def tell(c):
    c.send(look())
def ask():
    a, b = ctx.Pipe()
    p = ctx.Process(target=tell, args=(b,), name="Namely")
    p.start()
    seen = a.recv()
    p.join()
    return seen
""",
        """\
os.environ["REMOVED"] = "still there"
os.environ["NICE"] = str(os.nice(0))
os.environ["WHERE"] = os.getcwd()
before = ask()
assert before["removed"] == "still there", before
os.environ["LATE"] = "now"
del os.environ["REMOVED"]
os.mkdir("elsewhere")
os.chdir("elsewhere")
os.environ["WHERE"] = os.getcwd()
sys.path.append("/late")
sys.argv.append("late")
os.umask(0o27)
os.nice(3)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cpus[:1])
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, print)
signal.signal(signal.SIGINT, print)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
mp.current_process().authkey = b"secret"
print(ask())
print(cpus[:1])
""",
    )
    seen, cpus = (ast.literal_eval(line) for line in out.splitlines())
    assert seen == {
        "env": "now",
        "removed": None,
        "cwd": True,
        "path": True,
        "argv": "late",
        "umask": "0o27",
        "nice": 3,
        "core": 0,
        "files": 200,
        "affinity": cpus,
        "blocked": [int(signal.SIGUSR2)],
        "hup": seen["hup"],
        "usr1": seen["usr1"],
        "int": True,
        "name": "Namely",
        "key": b"secret",
    }
    assert seen["hup"] in {"Handlers.SIG_IGN", "1"}
    assert seen["usr1"] in {"Handlers.SIG_DFL", "0"}


def test_a_worker_writes_where_its_caller_does_now(run: Run, tmp_path: Path) -> None:
    out = run(
        "def write():\n    os.write(1, b'raw '); print('printed'); print('error', file=sys.stderr)",
        """\
def go():
    p = ctx.Process(target=write)
    p.start()
    p.join()
    assert p.exitcode == 0
for n in (1, 2):
    fd = os.open(f"redirected{n}", os.O_WRONLY | os.O_CREAT)
    silent = os.open(os.devnull, os.O_WRONLY)
    saved = os.dup(1), os.dup(2)
    os.dup2(silent, 3 - n)
    os.dup2(fd, n)
    go()
    if n == 2:
        os.close(1)
        go()
    os.dup2(saved[0], 1)
    os.dup2(saved[1], 2)
""",
    )
    assert (tmp_path / "redirected1").read_text() == "raw printed\n"
    assert out == ""
    assert (tmp_path / "redirected2").read_text() == "error\nerror\n"


def test_stdin_of_the_caller_is_not_touched(run: Run) -> None:
    out = run(
        'taken = sys.stdin.read(1) if __name__ == "__mp_main__" else None\n'
        "def look():\n    return taken, sys.stdin.read()",
        "with ctx.Pool(1) as pool:\n    print(pool.apply(look))\nprint(sys.stdin.read())",
        stdin_text="mine",
    )
    assert out == "('', '')\nmine\n"


def test_nothing_else_comes_along(run: Run) -> None:
    """A worker holds its standard streams, what was sent to it, and few of our own."""
    out = run(
        """\
def look(c):
    c.send(sorted(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                  if int(n) > 2 and os.path.exists(f"/proc/self/fd/{n}")
                  or os.path.islink(f"/proc/self/fd/{n}") and int(n) > 2))
""",
        """\
kept = open("a-file-of-the-caller", "w")
c, d = ctx.Pipe()
p = ctx.Process(target=look, args=(d,))
p.start()
found = c.recv()
p.join()
print(sum("a-file-of-the-caller" in name for name in found), len(found) < 8, found)
""",
    )
    assert out.startswith("0 True"), out


def test_what_a_standby_rehearses_leaves_no_trace(run: Run) -> None:
    """Workers that were forked ahead are like the first, and nobody hears of those never used."""
    out = run(
        """\
import support
from multiprocessing import util
class Noted:
    pass
noted = Noted()
util.register_after_fork(noted, lambda _: os.write(1, b"after a fork\\n"))
def look(c):
    parent = mp.parent_process()
    c.send([
        mp.current_process().name, parent.pid, parent.is_alive(),
        mp.Process().name[-2:], len(mp.active_children()), sys.stdin.closed,
        threading.main_thread().is_alive(), util._exiting, len(os.listdir("/proc/self/fd")),
        mp.get_start_method(),
    ])
""",
        """\
seen = []
for number in range(6):
    a, b = ctx.Pipe(duplex=False)
    p = ctx.Process(target=look, args=(b,), name=f"n{number}")
    p.start()
    b.close()
    found = a.recv()
    assert found.pop(0) == f"n{number}"
    seen.append(found)
    p.join()
    support.wait_until(lambda: "ef-standby" in support.session(os.getsid(0)).values())
print(all(found == seen[0] for found in seen), seen)
""",
        env={"PYTHONPATH": support.python_path()},
    )
    lines = out.splitlines()
    assert lines[:6] == ["after a fork"] * 6
    assert lines[6].startswith("True"), out
    assert len(lines) == 7


# --- what is left ---------------------------------------------------------------------------------


def test_no_fd_stays_for_a_process_that_was_closed(run: Run) -> None:
    out = run(
        "def nothing():\n    pass",
        """\
def count():
    return len(os.listdir("/proc/self/fd"))
def one(daemon):
    p = ctx.Process(target=nothing, daemon=daemon)
    p.start()
    p.join()
    p.close()
for _ in range(5):
    one(False)
    one(True)
before = count()
for _ in range(10):
    one(False)
    one(True)
print(count() - before)
""",
    )
    assert out == "0\n"


def test_children_of_the_caller_are_its_own(run: Run) -> None:
    """Nothing of this shows up in os.wait(), but the stdlib's resource tracker."""
    out = run(
        "def end():\n    sys.exit(4)",
        """\
p = ctx.Process(target=end)
p.start()
try:
    while True:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
except ChildProcessError:
    pass
p.join()
print(p.exitcode)
""",
    )
    assert out == "4\n"


def test_beside_a_plain_fork(run: Run) -> None:
    out = run(
        "def end(n):\n    sys.exit(n)",
        """\
p = ctx.Process(target=signal.pause)
p.start()
pid = os.fork()
if not pid:
    p = ctx.Process(target=end, args=(5,))
    p.start()
    p.join()
    os._exit(p.exitcode)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
p.kill()
p.join()
print(p.exitcode)
""",
    )
    assert out == "5\n-9\n"


# --- what others wrote ----------------------------------------------------------------------------


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed"
    )


@needs("joblib")
@pytest.mark.parametrize("backend", ["multiprocessing", "loky"])
def test_joblib(run: Run, backend: str) -> None:
    out = run(
        "def square(x):\n    return x * x",
        f"""\
mp.set_start_method("earlyfork")
import joblib
with joblib.parallel_config(backend="{backend}"):
    print(joblib.Parallel(n_jobs=2)(joblib.delayed(square)(i) for i in range(4)))
""",
        timeout=40,
    )
    assert out == "[0, 1, 4, 9]\n"


@needs("pebble")
def test_pebble(run: Run) -> None:
    out = run(
        "def square(x):\n    return x * x\ndef forever():\n    signal.pause()",
        """\
from concurrent.futures import TimeoutError
from pebble import ProcessPool
with ProcessPool(2, context=ctx) as pool:
    print(list(pool.map(square, range(4)).result()))
    late = pool.schedule(forever, timeout=0.2)
    try:
        late.result()
    except TimeoutError:
        print("ended in time")
    print(pool.schedule(square, args=(5,)).result())
""",
    )
    assert out == "[0, 1, 4, 9]\nended in time\n25\n"


@needs("numpy")
def test_numpy_is_loaded_once(run: Run) -> None:
    out = run(
        "import numpy\ndef total(a):\n    return float(a.sum())",
        """\
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, mp_context=ctx) as executor:
    print(list(executor.map(total, [numpy.ones(5), numpy.zeros(3)])))
""",
    )
    assert out == "[5.0, 0.0]\n"


# --- the corners ----------------------------------------------------------------------------------


def test_more_fds_than_one_message_takes(run: Run) -> None:
    out = run(
        """\
def count(q, ends):
    q.put((len(ends), len({os.fstat(end.fileno()).st_ino for end in ends})))
""",
        """\
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
ends = [end for _ in range(140) for end in mp.Pipe()]
q = ctx.SimpleQueue()
p = ctx.Process(target=count, args=(q, ends))
p.start()
print(*q.get())
p.join()
""",
    )
    assert out == "280 280\n"


def test_the_context_itself_can_be_handed_on(run: Run) -> None:
    """It is the registered one there; a context with a template of its own stays here."""
    out = run(
        """\
def tell(context, other, q):
    q.put((context is mp.get_context("earlyfork"), type(other).__name__, other.name))
""",
        """\
own = earlyfork.mp.get_context(template=earlyfork.new())
q = ctx.SimpleQueue()
print(hasattr(ctx.Process(), "_sentinel"))
class Named(own.Process):
    pass
p = own.Process(target=tell, args=(ctx, own.Process(name="other"), q))
p.start()
print(*q.get())
p.join()
""",
    )
    assert out == "False\nTrue EarlyForkProcess other\n"


def test_interrupt(run: Run) -> None:
    """`Process.interrupt()` of Python 3.14 and later, whose half is there before."""
    out = run(
        """\
def wait(c):
    try:
        c.send("waits")
        signal.pause()
    except KeyboardInterrupt:
        c.send("interrupted")
""",
        """\
a, b = ctx.Pipe()
p = ctx.Process(target=wait, args=(b,))
p.start()
print(a.recv())
p._popen.interrupt()
print(a.recv())
p.join()
p._popen.interrupt()  # one that has ended
print(p.exitcode)
""",
    )
    assert out == "waits\ninterrupted\n0\n"


def test_a_main_program_shorter_than_the_head_of_a_pyc(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(
        "import earlyfork.mp, multiprocessing as mp, sys\n"
        "def go():\n"
        "    p = mp.get_context('earlyfork').Process(target=print, args=('went',))\n"
        "    p.start(); p.join(); print(p.exitcode)\n"
        "if 'ef-template' not in open('/proc/self/comm').read(): go()\n"
    )
    done = support.run_script(
        "import lib", directory=tmp_path, env={"PYTHONPATH": support.python_path(tmp_path)}
    )
    assert (done.returncode, done.stdout) == (0, "went\n0\n"), done


def test_a_main_module_that_is_no_more(tmp_path: Path) -> None:
    """Run by `python -m`, then removed: the worker says so, and nobody waits for it in vain."""
    (tmp_path / "tool.py").write_text(
        "import earlyfork.mp, multiprocessing as mp, os\n"
        "def work():\n    pass\n"
        "if __name__ == '__main__':\n"
        "    os.remove(__file__)\n"
        "    p = mp.get_context('earlyfork').Process(target=work)\n"
        "    p.start(); p.join(); print(p.exitcode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-m", "tool"],
        cwd=tmp_path,
        env=support.clean_env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "1\n", done
    assert "ImportError: the main module tool can't be found" in done.stderr


def test_a_process_that_the_kernel_refuses(run: Run) -> None:
    """No fds are left: it was never started, and the next one is."""
    out = run(
        "def work():\n    pass",
        """\
import resource
first = ctx.Process(target=work); first.start(); first.join()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
top = max(map(int, os.listdir("/proc/self/fd")))
p = ctx.Process(target=work)
resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
holders = []
try:
    while True:
        holders.append(os.dup(0))
except OSError:
    pass
try:
    p.start()
    p.join()
    print("was started", p.exitcode)  # from a standby, which needs none
except OSError as error:
    print("refused", error.errno == 24)
for fd in holders:
    os.close(fd)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
q = ctx.Process(target=work); q.start(); q.join()
print(q.exitcode)
""",
    )
    assert out == "refused True\n0\n"


def test_workers_of_a_killed_template_can_be_killed(run: Run) -> None:
    """Nobody can know how they ended; that they ended is seen."""
    out = run(
        """\
def wait(c):
    c.send(os.getppid())
    signal.pause()
""",
        """\
import support
a, b = ctx.Pipe()
p = ctx.Process(target=wait, args=(b,))
p.start()
template = a.recv()
os.kill(template, signal.SIGKILL)
assert support.gone_within(template)
print(p.is_alive(), p.exitcode)
p.terminate()
p.join()
print(p.is_alive(), p.exitcode)
p.kill()
p.close()
""",
        env={"PYTHONPATH": support.python_path()},
    )
    assert out == "True None\nFalse 255\n"


def test_limits_and_niceness_of_the_caller_are_the_workers(run: Run) -> None:
    out = run(
        """\
import resource
def look():
    return (resource.getrlimit(resource.RLIMIT_CORE), os.getpriority(os.PRIO_PROCESS, 0),
            len(os.sched_getaffinity(0)), signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN,
            list(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
def tell(q):
    q.put(look())
""",
        """\
first = ctx.Process(target=print); first.start(); first.join()
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (0 if hard else 0, hard))
os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 1)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
q = ctx.SimpleQueue()
p = ctx.Process(target=tell, args=(q,))
p.start()
print(q.get() == look())
p.join()
""",
    )
    assert out == "\nTrue\n"
