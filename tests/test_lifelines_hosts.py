"""Hosts in unusual states: stopped, gone by another program, pid 1, ended by a thread, in trees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., subprocess.Popen[str]]

WITH_WORK = {"PYTHONPATH": support.python_path()}
ORIGINS = {"early": "", "launched": "os.environ['EARLYFORK'] = '0'"}


def told(process: subprocess.Popen[str]) -> Any:
    """What a program says in its next line, as JSON."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


# -- stopped and continued -----------------------------------------------------------------------


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_main_program_that_is_stopped_finds_all_as_it_was(
    start_script: Start, origin: str
) -> None:
    """Neither the stop nor what ends meanwhile is lost; linked workers are not ended by a stop."""
    process = start_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import json, sys, work
        linked, free = earlyfork.new(), earlyfork.new()
        socks = [linked.run(work.hold, linked=True), free.run(work.hold)]
        assert [sock.recv(1) for sock in socks] == [b"!", b"!"]
        prepared = earlyfork.new().send_arg("kept").ready(10)
        slow = earlyfork.new().eval("x = sum(range(10**6))")
        template = earlyfork.status().templates[0].pid
        print(json.dumps([template, linked.pid, free.pid, prepared.pid]), flush=True)
        sys.stdin.readline()
        assert free.wait(10) == -9
        assert linked.poll() is None
        assert work.got(prepared.run(work.echo)) == ("kept",)
        slow.ready(10)
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        socks[0].close()
        assert linked.wait(10) == 0
        print(json.dumps("good"), flush=True)
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    process.send_signal(signal.SIGSTOP)
    support.wait_until(lambda: support.state(process.pid) == "T")
    os.kill(pids[2], signal.SIGKILL)
    assert support.gone_within(pids[2])
    for pid in (pids[0], pids[1], pids[3]):
        assert support.alive(pid), support.describe(pid)
    process.send_signal(signal.SIGCONT)
    go_on(process)
    assert told(process) == "good"
    assert process.wait(10) == 0


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_template_that_is_stopped_delays_and_loses_nothing(run_script: Run, origin: str) -> None:
    run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import signal, support, work
        earlyfork.new().ready(10).close()
        template = earlyfork.status().templates[0].pid
        os.kill(template, signal.SIGSTOP)
        support.wait_until(lambda: support.state(template) == "T")
        made = [earlyfork.new().send_arg(n) for n in range(8)]
        socks = [process.run(work.echo) for process in made]
        try:
            made[-1].wait(0.05)
        except TimeoutError:
            pass
        os.kill(template, signal.SIGCONT)
        assert [work.got(sock) for sock in socks] == [(n,) for n in range(8)]
        assert [process.wait(10) for process in made] == [0] * 8
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_stopped_main_program_that_is_killed_takes_all_with_it(start_script: Start) -> None:
    process = start_script(
        """
        import earlyfork
        import json, sys, work
        linked = earlyfork.new()
        assert linked.run(work.stubborn, linked=True).recv(1) == b"!"
        prepared = earlyfork.new().ready(10)
        template = earlyfork.status().templates[0].pid
        print(json.dumps([template, linked.pid, prepared.pid]), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    process.send_signal(signal.SIGSTOP)
    support.wait_until(lambda: support.state(process.pid) == "T")
    process.kill()
    process.wait()
    for pid in pids:
        assert support.gone_within(pid, 5), support.describe(pid)
    support.wait_until(lambda: not support.session(process.pid))


# -- becomes another program ---------------------------------------------------------------------


def test_a_main_program_that_executes_another_ends_its_linked_workers(
    start_script: Start,
) -> None:
    """The process lives on, but nobody in it knows of the workers: their owner has ended."""
    process = start_script(
        """
        import earlyfork
        import json, os, sys, work
        linked = earlyfork.new()
        sock = linked.run(work.stubborn, linked=True)
        assert sock.recv(1) == b"!"
        free = earlyfork.new()
        held = free.run(work.hold)
        assert held.recv(1) == b"!"
        print(json.dumps([linked.pid, free.pid]), flush=True)
        sys.stdin.readline()
        os.execv("/bin/sh", ["sh", "-c", "read line; exit 5"])
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    linked, free = told(process)
    go_on(process)
    assert support.gone_within(free, 5), "it sees the end of its stream"
    assert support.gone_within(linked, 5), "its owner's sockets are closed by the exec"
    assert process.poll() is None
    go_on(process)
    assert process.wait(10) == 5


# -- pid 1 ---------------------------------------------------------------------------------------


def namespace() -> list[str]:
    """The command that runs a program as pid 1, or a skip by name."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here")
    command = [unshare, "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no pid namespace to be had: {done.stderr.strip()}")
    return command


@pytest.mark.root
@pytest.mark.parametrize("origin", ORIGINS)
def test_a_main_program_that_is_pid_1(tmp_path: Path, origin: str) -> None:
    """As in a container: orphans come to it, and nothing is killed for having pid 1 as parent."""
    script = support.write_script(
        f"""
        import os
        assert os.getpid() == 1
        {ORIGINS[origin]}
        import earlyfork
        import signal, support, sys, work
        for _ in range(5):
            process = earlyfork.new().send_arg(1)
            assert work.got(process.run(work.echo)) == (1,)
            assert process.wait(10) == 0
        linked = earlyfork.new()
        sock = linked.run(work.stubborn, linked=True)
        assert sock.recv(1) == b"!"
        assert linked.poll() is None
        template = earlyfork.new().require("work")
        clone = template.fork().ready(10)
        work.got(template.fork().send_arg(2).run(work.nested))
        template.close()
        clone.close()
        linked.kill()
        assert linked.wait(10) == -9
        # A template that dies is this process's own child now, as every orphan: reaped like these.
        pid = earlyfork.status().templates[0].pid
        os.kill(pid, signal.SIGKILL)
        support.wait_until(lambda: support.state(pid) in ("Z", ""))
        import warnings
        warnings.simplefilter("ignore")
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        print("good")
        """,
        tmp_path,
    )
    done = subprocess.run(
        [*namespace(), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env=support.clean_env(**WITH_WORK),
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


# -- ended by a thread ---------------------------------------------------------------------------

THREAD_ENDS = {
    "os._exit in a thread": ("threading.Thread(target=os._exit, args=(6,)).start()", 6),
    "SIGKILL from a thread": (
        "threading.Thread(target=os.kill, args=(os.getpid(), 9)).start()",
        -9,
    ),
    "SIGTERM to a thread": (
        "threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), 15)).start()",
        -15,
    ),
    "a fatal signal in a thread": (
        (
            "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
            "threading.Thread(target=os.abort).start()"
        ),
        -signal.SIGABRT,
    ),
}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("how", THREAD_ENDS)
def test_ended_from_a_thread(start_script: Start, how: str, origin: str) -> None:
    end, status = THREAD_ENDS[how]
    process = start_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import json, signal, sys, threading, work
        made = []
        def make():
            prepared = earlyfork.new().ready(10)
            linked = earlyfork.new()
            sock = linked.run(work.stubborn, linked=True)
            assert sock.recv(1) == b"!"
            made.extend((prepared, linked, sock))
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        pids = [made[0].pid, made[1].pid, *(t.pid for t in earlyfork.status().templates)]
        print(json.dumps(pids), flush=True)
        sys.stdin.readline()
        {end}
        signal.pause()
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    go_on(process)
    assert process.wait(10) == status
    for pid in pids:
        assert support.gone_within(pid, 5), support.describe(pid)
    support.wait_until(lambda: not support.session(process.pid))


def test_an_error_in_a_thread_ends_nothing(run_script: Run) -> None:
    """The interpreter prints it and goes on; so do the processes that the thread made."""
    done = run_script(
        """
        import earlyfork
        import threading, work
        made = []
        def make():
            made.append(earlyfork.new())
            made.append(made[0].run(work.hold, linked=True))
            raise RuntimeError("end of the thread")
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        process, sock = made
        assert sock.recv(1) == b"!" and process.poll() is None
        sock.close()
        assert process.wait(10) == 0
        """,
        check=True,
        env=WITH_WORK,
    )
    assert "end of the thread" in done.stderr


# -- trees ---------------------------------------------------------------------------------------

#: What a linked worker may have made; each prints the pids of all that must go with it.
TREES = {
    "a child": "pids = [child(pause)]",
    "a child that ignores SIGTERM": "pids = [child(lambda: (deaf(), pause()))]",
    "a grandchild": "pids = [child(lambda: (child(pause), pause()))]",
    "a child that goes on forking": (
        "pids = [child(lambda: ([child(pause) for _ in range(300)], pause()))]"
    ),
    "a command": "import subprocess; pids = [subprocess.Popen(['sleep', '1000']).pid]",
    "a stopped child": "pids = [child(lambda: os.kill(os.getpid(), signal.SIGSTOP))]",
    "processes of its own": "import earlyfork; inner = earlyfork.new();"
    "held = inner.run('work.stubborn', linked=True); held.recv(1); pids = [inner.pid]",
}


@pytest.mark.parametrize("ends", ["by SIGTERM", "by SIGKILL"])
@pytest.mark.parametrize("tree", TREES)
def test_the_children_of_a_linked_worker_end_with_it(
    start_script: Start, tree: str, ends: str
) -> None:
    """Within a second of the main program's death, whether the worker obeys SIGTERM or not."""
    process = start_script(
        f"""
        import earlyfork
        import json, sys
        worker = earlyfork.new().eval('''
        import os, signal

        def pause():
            while True:
                signal.pause()

        def deaf():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

        def child(then):
            pid = os.fork()
            if not pid:
                then()
                os._exit(0)
            return pid

        def f(sock):
            {tree and TREES[tree]}
            if {ends == "by SIGKILL"}:
                deaf()
            sock.sendall(b"%d" % pids[0])
            pause()
        ''')
        sock = worker.run("f", linked=True)
        print(json.dumps([worker.pid, int(sock.recv(100))]), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    worker, child = told(process)
    support.assert_all_end_with(process, {"the worker": worker, "what it made": child}, 2)
