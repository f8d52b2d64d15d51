"""Hundreds of threads at once, recycled pids, and a fork in the middle of a creation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_hundreds_of_threads_create_wait_kill_and_drop(run_script: Run, origin: str) -> None:
    run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import random, signal, support, threading, traceback, work

        template = earlyfork.new().require("work")
        failures = []
        shared = earlyfork.new()
        shared_sock = shared.run(work.hold)
        assert shared_sock.recv(1) == b"!"

        def waits(n):
            process = earlyfork.new().send_arg(n)
            assert work.got(process.run(work.echo)) == (n,)
            assert process.wait(30) == 0

        def kills(n):
            process = template.fork()
            assert process.run(work.stubborn).recv(1) == b"!"
            process.kill()
            assert process.wait(30) == -signal.SIGKILL

        def drops(n):
            process = earlyfork.new().eval("x = 1")
            if n % 2:
                process.ready(30)

        def clones(n):
            process = template.fork().send_arg(n)
            clone = process.fork()
            assert work.got(clone.run(work.echo)) == (n,)
            assert clone.wait(30) == 0

        def shares(n):
            assert shared.wait(30) == 0
            assert support.readable_within(shared.sentinel, 5)

        jobs = [waits, kills, drops, clones, shares]
        gate = threading.Barrier(250)

        def thread(n):
            gate.wait()
            try:
                jobs[n % len(jobs)](n)
            except BaseException:
                failures.append(traceback.format_exc())

        threads = [threading.Thread(target=thread, args=(n,)) for n in range(250)]
        for one in threads:
            one.start()
        shared_sock.close()
        for one in threads:
            one.join(50)
        assert not any(one.is_alive() for one in threads), "a thread hangs"
        assert not failures, failures[0] + str(len(failures))
        template.close()
        del template
        def left():
            roots = {{entry.pid for entry in earlyfork.status().templates}}
            return {{
                pid: name for pid, name in support.session(os.getsid(0)).items()
                if pid != os.getpid() and pid not in roots and name != "ef-standby"
            }}
        support.wait_until(lambda: not left())
        assert earlyfork.status().processes == (), earlyfork.status()
        """,
        check=True,
        env=support.with_work(),
        timeout=55,
    )


@pytest.mark.root
@pytest.mark.slow
def test_a_signal_never_reaches_a_recycled_pid(pid_namespace: list[str], tmp_path: Path) -> None:
    """With few pids in all, each is used again at once; whoever is not meant must never be hit."""
    script = support.write_script(
        """
        import earlyfork
        import os, signal, support, threading, work
        with open("/proc/sys/kernel/pid_max", "w") as file:
            file.write("400")
        first = work.got(earlyfork.new().run(work.pid))
        seen, recycled, hit = set(), 0, []
        stop = threading.Event()

        def innocents():
            # Others take whatever pid is free: none of them may be hit.
            while not stop.is_set():
                pid = os.fork()
                if not pid:
                    os._exit(7)
                _, status = os.waitpid(pid, 0)
                if os.waitstatus_to_exitcode(status) != 7:
                    hit.append(status)

        bystander = threading.Thread(target=innocents)
        bystander.start()
        old = []
        for n in range(900):
            process = earlyfork.new()
            process.run("work.returns").detach()
            pid = process.pid
            recycled += pid in seen
            seen.add(pid)
            process.kill()  # it ends by itself just now
            old.append(process)
            for one in old[-60::7]:
                one.kill()
                one.terminate()
            if len(old) > 60:
                first = old.pop(0)
                assert first.wait(10) in (0, -signal.SIGKILL, -signal.SIGTERM)
                first.kill()
        for process in old:
            assert process.wait(10) in (0, -signal.SIGKILL, -signal.SIGTERM)
        stop.set()
        bystander.join()
        assert not hit, hit
        assert recycled > 100, recycled
        print("recycled", recycled)
        """,
        tmp_path,
    )
    command = [*pid_namespace, sys.executable, str(script)]
    probe = "open('/proc/sys/kernel/pid_max', 'w').write('400')"
    done = subprocess.run(
        [*pid_namespace, sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    if done.returncode or Path("/proc/sys/kernel/pid_max").read_text() == "400\n":
        pytest.skip("this kernel has no limit of pids per namespace")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        env=support.clean_env(**support.with_work()),
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recycled"), done.stdout


#: A process takes the pid of one that has ended, by the kernel's own knob for it.
AGAIN = """
import earlyfork
import errno, os, signal, support, sys, work

def take(pid):
    "Fork a process that has this pid and waits; its way to be told."
    for _ in range(100):  # another process may be faster to take the next pid
        reader, writer = os.pipe()
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(pid - 1))
        child = os.fork()
        if not child:
            os.close(writer)
            os.read(reader, 1)
            os._exit(7)
        os.close(reader)
        if child == pid:
            return writer
        os.close(writer)
        os.waitpid(child, 0)
    raise AssertionError(f"pid {pid} can't be had")

def unharmed(pid, writer):
    assert support.alive(pid)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, "the wrong process was hit"

def gone(process):
    "Wait until its forker has reaped it and let go of its status, which is not read."
    pid = process.pid
    assert support.readable_within(process.sentinel, 10)
    return pid

def signals(process):
    for act in (process.terminate, process.kill, lambda: process.send_signal(signal.SIGCONT)):
        try:
            act()
        except earlyfork.ProcessLost:
            lost.append(process)

lost = []
template = earlyfork.new().ready(10)
for make in (earlyfork.new, template.fork, earlyfork.new_exec):
    # It ended by itself, and nobody has asked for its status.
    process = make()
    process.run(work.returns).close()
    pid = gone(process)
    writer = take(pid)
    signals(process)
    unharmed(pid, writer)
    assert process.wait(10) == 0 and not lost
    # Linked, with the handle dropped: nothing of ours may come later either.
    process = make()
    sock = process.run(work.hold, linked=True)
    assert sock.recv(1) == b"!"
    sock.close()
    pid = gone(process)
    writer = take(pid)
    del process
    earlyfork.status()
    unharmed(pid, writer)
    # Prepared only.
    process = make().ready(10)
    process.eval("raise SystemExit(3)")
    pid = gone(process)
    writer = take(pid)
    signals(process)
    process.close()
    unharmed(pid, writer)
# Its forker was killed: nobody knows what it is now.
process = template.fork()
process.run(work.returns).close()
pid = process.pid
os.kill(template.pid, signal.SIGSTOP)
support.wait_until(lambda: support.state(pid) == "Z")
os.kill(template.pid, signal.SIGKILL)

def reaped():
    "Orphans come to this program, which is pid 1."
    try:
        return os.waitpid(pid, os.WNOHANG)[0]
    except ChildProcessError:
        return False
support.wait_until(reaped)
writer = take(pid)
signals(process)
assert len(lost) == 3
unharmed(pid, writer)
print("good")
"""


@pytest.mark.root
def test_the_pid_of_a_process_that_has_ended_is_somebody_elses(
    pid_namespace: list[str], tmp_path: Path
) -> None:
    """Each time, and not by chance: the next process takes that very pid, and then come signals."""
    script = support.write_script(AGAIN, tmp_path)
    probe = "open('/proc/sys/kernel/ns_last_pid', 'w').write('99')"
    command = [*pid_namespace, sys.executable]
    done = subprocess.run([*command, "-c", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the next pid can't be chosen here: {done.stderr.strip()[-100:]}")
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        # Nobody but the program takes a pid.
        env=support.clean_env(EARLYFORK_STANDBY="0", **support.with_work()),
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_the_host_forks_while_other_threads_create(run_script: Run, origin: str) -> None:
    """Whatever lock another thread held just then, the child of the host can go on."""
    done = run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import faulthandler, signal, support, threading, warnings, work
        warnings.simplefilter("ignore")
        template = earlyfork.new().require("work")
        stop, failures = threading.Event(), []
        faulthandler.dump_traceback_later(50, exit=True)

        def creates():
            try:
                while not stop.is_set():
                    with earlyfork.new() as process:
                        assert work.got(process.send_arg(1).run(work.echo)) == (1,)
                        assert process.wait(20) == 0
                    template.fork().ready(20).close()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=creates) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(40):
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    signal.alarm(20)
                    process = earlyfork.new().send_arg(n)
                    assert work.got(process.run(work.echo)) == (n,)
                    assert process.wait(10) == 0
                    earlyfork.status()
                    try:
                        template.fork()
                    except earlyfork.ProcessStateError:
                        status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(pid, 0)[1] == 0, n
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        """,
        check=True,
        env=support.with_work(),
        timeout=55,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_host_forks_while_another_thread_asks_a_template(run_script: Run, origin: str) -> None:
    """In the middle of a poll, and with the fds of a request: the child of the host has neither."""
    done = run_script(
        f"""
        import os
        {ORIGINS[origin]}
        import earlyfork
        import support, threading, warnings, work
        from earlyfork import _origin
        warnings.simplefilter("ignore")  # 3.12 and later warn of any fork beside threads
        assert work.got(earlyfork.new().run(work.echo)) == ()
        template = _origin._now.template
        here, far = os.pipe()
        template._in_flight |= {{far}}
        template._watch.suspect = True
        thread = threading.Thread(target=template.gone)  # polls for a second
        thread.start()
        support.wait_until(lambda: not template._watch.suspect)  # and so polls
        pid = os.fork()
        if not pid:
            os.close(here)
            try:
                os.fstat(far)
            except OSError:
                assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        thread.join()
        """,
        check=True,
        env=support.with_work(EARLYFORK_STANDBY="0"),
        timeout=30,
    )
    assert done.stderr == ""
