"""Who ends when; what happens at a limit; and a host that forks itself or becomes a daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., subprocess.Popen[str]]

WITH_WORK = {"PYTHONPATH": support.python_path()}


def told(process: subprocess.Popen[str]) -> Any:
    """What a program says in its first line, as JSON."""
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)


#: What a program may end by, with its exit status.
ENDS = {
    "returns": ("pass", 0),
    "exits": ("import sys; sys.exit(3)", 3),
    "raises": ("raise RuntimeError('end of main')", 1),
    "os._exit": ("os._exit(4)", 4),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "exec": ("os.execv('/bin/sh', ['sh', '-c', 'read line; exit 5'])", 5),
}

#: Everything that must not outlive its main program.
FULL_HOUSE = """
{first}
import earlyfork
import json, os, signal, support, sys, work
from earlyfork.template import TEMPLATE
launched = earlyfork.new_exec(executable=sys.executable).ready(10)
kept = [earlyfork.new().ready(10) for _ in range(3)]
clones = [kept[0].fork().ready(10), TEMPLATE.fork().ready(10), kept[0].fork().fork().ready(10)]
never_ready = earlyfork.new()
busy = earlyfork.new().eval("import select; select.select([], [], [], 0.5)")
status = earlyfork.status()
assert all(entry.pid for entry in status.templates)
pids = [entry.pid for entry in (*status.templates, *status.processes) if entry.pid]
support.wait_until(lambda: "ef-standby" in support.session(os.getsid(0)).values())
pids += [pid for pid in support.session(os.getsid(0)) if pid not in (*pids, os.getpid())]
print(json.dumps(pids), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("first", ["", "import os; os.environ['EARLYFORK'] = '0'"])
@pytest.mark.parametrize("how", ENDS)
def test_nothing_that_was_not_run_outlives_the_main_program(
    start_script: Start, how: str, first: str
) -> None:
    end, status = ENDS[how]
    process = start_script(
        FULL_HOUSE.format(first=first) + end, stdin=subprocess.PIPE, env=WITH_WORK
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    pids = told(process)
    assert len(pids) >= 10
    assert all(support.alive(pid) for pid in pids)
    process.stdin.write("end\n")
    process.stdin.flush()
    if how == "exec":  # the sockets are close-on-exec: what runs now never asked for them
        for pid in pids:
            assert support.gone_within(pid, 5), support.describe(pid)
        process.stdin.write("end\n")
        process.stdin.flush()
    # Both streams end, though the one in a long eval wants half a second.
    support.read_until_eof(process.stdout.fileno(), 5)
    assert process.wait(10) == status
    for pid in pids:
        assert support.gone_within(pid, 5), support.describe(pid)
    support.wait_until(lambda: not support.session(process.pid))
    said = process.stderr.read()
    assert said.count("Traceback") == (how == "raises"), said


def test_workers_live_on_and_see_the_end(start_script: Start, tmp_path: Path) -> None:
    process = start_script(
        """
        import earlyfork
        import json, os, sys, work
        from earlyfork.template import TEMPLATE
        HOLD = '''
        def hold(sock, path):
            sock.sendall(b"!")
            assert sock.recv(1) == b""
            with open(path, "w") as file:
                file.write("saw the end")
        '''
        launched = earlyfork.new_exec(executable=sys.executable)
        template = earlyfork.new()
        workers = [earlyfork.new(), launched, TEMPLATE.fork(), template.fork(), template]
        socks = []
        for number, worker in enumerate(workers):
            worker.eval(HOLD).send_arg(os.path.abspath(f"log-{number}"))
            socks.append(worker.run("hold"))
            assert socks[-1].recv(1) == b"!"
        print(json.dumps([worker.pid for worker in workers]), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    pids = told(process)
    process.kill()
    process.wait()
    for pid in pids:
        assert support.gone_within(pid), support.describe(pid)
    for number in range(len(pids)):
        assert (tmp_path / f"log-{number}").read_text() == "saw the end"


LINKED = {
    "waits": "import signal\nwhile True: signal.pause()",
    "sleeps": "import time\ntime.sleep(1000)",
    "spins": "while True: pass",
    "ignores SIGTERM": "import signal, threading\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "sock.sendall(b'!')\nthreading.Event().wait()",
    "blocks SIGTERM": "import signal\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    "sock.sendall(b'!')\nwhile True: pass",
    "is stopped": "import os, signal\nsock.sendall(b'!')\nos.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("handle", ["held", "dropped", "socket dropped", "started by a thread"])
@pytest.mark.parametrize("origin", ["early", "launched"])
def test_linked_workers_end_with_a_killed_main_program(
    start_script: Start, handle: str, origin: str
) -> None:
    process = start_script(
        f"""
        import os
        {"" if origin == "early" else "os.environ['EARLYFORK'] = '0'"}
        import earlyfork
        import gc, json, support, sys, textwrap, threading

        bodies = {LINKED!r}
        made, socks, pids = [], [], []

        def start(name, body):
            code = "def f(sock):\\n" + textwrap.indent(body, "    ")
            if "sock.sendall" not in body:
                code = code.replace("\\n    ", "\\n    sock.sendall(b'!')\\n    ", 1)
            worker = earlyfork.new().eval(code)
            sock = worker.run("f", linked=True)
            assert sock.recv(1) == b"!"
            pids.append(worker.pid)
            if {handle != "dropped"}:
                made.append(worker)
            if {handle != "socket dropped"}:
                socks.append(sock)

        for item in bodies.items():
            if {handle == "started by a thread"}:
                thread = threading.Thread(target=start, args=item)
                thread.start()
                thread.join()  # the thread's own end is nobody's end
            else:
                start(*item)
        gc.collect()
        support.wait_until(lambda: support.state(pids[-1]) == "T")
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


def test_a_linked_worker_may_tidy_up(start_script: Start, tmp_path: Path) -> None:
    """SIGTERM comes first, and there is time to obey it."""
    process = start_script(
        """
        import earlyfork
        import sys
        worker = earlyfork.new().eval('''
        def f(sock, path):
            import signal, sys
            def tidy(*_):
                with open(path, "w") as file:
                    file.write("tidied up")
                sys.exit(0)
            signal.signal(signal.SIGTERM, tidy)
            sock.sendall(b"!")
            while True:
                signal.pause()
        ''')
        sock = worker.send_arg(sys.argv[1]).run("f", linked=True)
        assert sock.recv(1) == b"!"
        print(worker.pid, flush=True)
        sys.stdin.readline()
        """,
        str(tmp_path / "log"),
        stdin=subprocess.PIPE,
    )
    pid = told(process)
    process.kill()
    process.wait()
    assert support.gone_within(pid, 5)
    assert (tmp_path / "log").read_text() == "tidied up"


def test_processes_that_were_not_linked_are_left_alone(start_script: Start) -> None:
    """One linked, one not, of one template."""
    process = start_script(
        """
        import earlyfork
        import json, sys
        template = earlyfork.new().require("work")
        workers = [template.fork(), template.fork()]
        socks = [worker.run("work.stubborn", linked=n == 0) for n, worker in enumerate(workers)]
        assert all(sock.recv(1) == b"!" for sock in socks)
        print(json.dumps([worker.pid for worker in workers]), flush=True)
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    linked, free = told(process)
    process.kill()
    process.wait()
    assert support.gone_within(linked, 5)
    assert support.alive(free)
    os.kill(free, signal.SIGKILL)
    assert support.gone_within(free)


@pytest.mark.parametrize("which", ["early", "launched", "prepared"])
def test_workers_of_a_killed_template_live_on_and_are_lost(run_script: Run, which: str) -> None:
    run_script(
        f"""
        import os
        {"os.environ['EARLYFORK'] = '0'" if which == "launched" else ""}
        import earlyfork
        import signal, support, warnings, work
        template = earlyfork.new().require("work").ready(10)
        workers = [template.fork() if {which == "prepared"} else earlyfork.new() for _ in range(3)]
        socks = [worker.run(work.hold) for worker in workers]
        assert all(sock.recv(1) == b"!" for sock in socks)
        prepared = template.fork() if {which == "prepared"} else earlyfork.new()
        pids = [worker.pid for worker in workers]
        pid = template.pid if {which == "prepared"} else earlyfork.status().templates[0].pid
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)
        for worker in workers:
            for ask in (worker.wait, worker.poll):
                try:
                    ask()
                except earlyfork.ProcessLost as error:
                    assert error.pid == worker.pid and str(worker.pid) in str(error)
                else:
                    raise AssertionError("a status was invented")
            assert worker.returncode is None and support.alive(worker.pid)
            assert support.readable_within(worker.sentinel, 5)
        try:
            prepared.ready(10)
        except earlyfork.EarlyForkError as error:
            pass
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        for sock in socks:
            sock.sendall(b"they still read")
            sock.close()
        for pid in pids:
            assert support.gone_within(pid)
        """,
        check=True,
        env=WITH_WORK,
    )


# -- limits --------------------------------------------------------------------------------------

NO_FDS = """
    import os
    {first}
    import earlyfork
    import resource, socket, support, work
    for _ in range(3):
        assert work.got(earlyfork.new().run(work.pid))
    prepared = earlyfork.new().ready(10)
    running = earlyfork.new()
    held = running.run(work.hold)
    assert held.recv(1) == b"!"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def count():
        return len(os.listdir("/proc/self/fd"))

    def calls():
        yield "new", earlyfork.new
        yield "new with cwd", lambda: earlyfork.new(cwd="/")
        yield "new_exec", lambda: earlyfork.new_exec(executable=__import__("sys").executable)
        yield "fork", prepared.fork
        yield "send_fh", lambda: prepared.send_fh(0)
        yield "snapshot", lambda: __import__("earlyfork.template").template.snapshot()

    import earlyfork.template
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    for name, call in calls():
        made = []
        for room in range(0, 12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            filled = []
            try:
                while True:
                    filled.append(os.dup(0))
            except OSError:
                pass
            for fd in filled[:room]:
                os.close(fd)
            before = count() if room else None
            try:
                made.append(call())
            except OSError as error:
                assert error.errno == 24, (name, room, error)
                assert str(error) != "[Errno 24] " + os.strerror(24), (name, room)  # says at what
            try:
                if before is not None and not made:
                    assert count() == before, (name, room, before, count())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
                for fd in filled[room:]:
                    os.close(fd)
            if made:
                break
        else:
            raise AssertionError(name + " never works")
        if made[0] not in (None, prepared):
            if name == "snapshot":  # lives under the low limit itself: works, or says so
                try:
                    made[0].fork().ready(10)
                except (OSError, earlyfork.EarlyForkError):
                    pass
            else:
                made[0].ready(10)
            made[0].close()
        del made
    # Once there is room, all is as before.
    for _ in range(4):
        process = earlyfork.new()
        assert work.got(process.run(work.pid)) == process.pid
        assert process.wait(10) == 0
    assert len(work.got(prepared.run(work.echo))) == 1
    assert running.poll() is None
    held.close()
    assert running.wait(10) == 0
    """


@pytest.mark.parametrize("origin", ["early", "launched"])
def test_too_many_open_files(run_script: Run, origin: str) -> None:
    """Each call says so, leaks nothing, and works once there is room."""
    first = "" if origin == "early" else "os.environ['EARLYFORK'] = '0'"
    done = run_script(NO_FDS.format(first=first), check=True, env=WITH_WORK, timeout=50)
    assert done.stderr == ""


def test_too_many_open_files_at_the_first_line(run_script: Run) -> None:
    """No early template then, and a warning; the program goes on."""
    run_script(
        """
        import os, resource, warnings
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for room in range(0, 4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
            filled = []
            try:
                while True:
                    filled.append(os.dup(0))
            except OSError:
                pass
            if room == 3:  # the import itself needs one
                for fd in filled[:3]:
                    os.close(fd)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    import earlyfork
                filled = filled[3:]
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            for fd in filled:
                os.close(fd)
        assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
        status = earlyfork.status()
        assert not status.early and "open files" in status.reason, status
        earlyfork.new().ready(10)
        """,
        check=True,
    )


def uid_without_processes() -> int:
    """A user id that nobody uses, so that its limit is this test's own; by worker of xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return 61000 + (int(worker) if worker.isdecimal() else 0)


def interpreter_for(uid: int, path: list[str]) -> str:
    """A Python that another user can run, with earlyfork and the tests readable by that user."""
    problems = []
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            probe = subprocess.run(
                [
                    python,
                    "-c",
                    f"import sys; sys.path[:0] = {path}; import earlyfork, support, work",
                ],
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
                env=support.clean_env(EARLYFORK="0"),  # a template of its would count
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            problems.append(str(error))
            continue
        if not probe.returncode:
            return python
        problems.append(f"{python}: {probe.stderr.strip()[-100:]}")
    pytest.skip(f"another user can run no Python here: {'; '.join(problems)}")


@pytest.mark.root
def test_too_many_processes(tmp_path: Path) -> None:
    """A fork that the kernel refuses is that one process's error; the template lives on."""
    # The program is read here: its directory is private to this user.
    program = support.write_script(
        """
        import sys
        sys.path[:0] = eval(sys.argv[1])
        import earlyfork
        import contextlib, resource, support, work
        kept = earlyfork.new().ready(10)
        kept.fork().ready(10)
        [template] = [t.pid for t in earlyfork.status().templates if t.name == "early"][:1]
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        for pid in support.session(__import__("os").getsid(0)):
            with contextlib.suppress(ProcessLookupError):  # a stale standby, on its way out
                resource.prlimit(pid, resource.RLIMIT_NPROC, (1, hard))
        refused = 0
        for make in (earlyfork.new, kept.fork) * 6:
            process = make()
            try:
                process.ready(10).close()
            except BlockingIOError as error:
                assert error.errno == 11, error
                assert "could not fork" in str(error)
                refused += 1
                for ask in (process.wait, lambda: process.pid):
                    try:
                        ask()
                    except BlockingIOError:
                        continue
                    raise AssertionError("a process that never was has no status")
        assert refused >= 4, refused
        for pid in support.session(__import__("os").getsid(0)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NPROC, (soft, hard))
        for make in (earlyfork.new, kept.fork) * 2:
            process = make()
            assert work.got(process.run(work.pid)) == process.pid
            assert process.wait(10) == 0
        assert template in [t.pid for t in earlyfork.status().templates]
        print("good")
        """,
        tmp_path,
    )
    uid = uid_without_processes()
    path = [str(Path(__file__).parent), str(support.home_of_earlyfork())]
    python = interpreter_for(uid, path)
    command = [python, "-c", program.read_text(), repr(path)]
    done = subprocess.run(
        command,
        user=uid,
        group=uid,
        extra_groups=[],
        start_new_session=True,
        cwd="/",
        env=support.clean_env(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "good\n"


#: What has no template to fork for it, and asks the kernel itself.
NO_TEMPLATE = {
    "the first new()": "earlyfork.new",
    "new_exec()": "lambda: earlyfork.new_exec(executable=sys.executable)",
    "snapshot()": "__import__('earlyfork.template').template.snapshot",
}


@pytest.mark.root
@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("what", NO_TEMPLATE)
def test_too_many_processes_to_make_a_template(tmp_path: Path, what: str, pure: str) -> None:
    """The call itself fails: it says what was to be made, leaves nothing, and works later.

    A snapshot is forked twice. Beside the program, and the snapshot that the import took, a third
    process may come to be then, and tells that it can't make the fourth.
    """
    program = support.write_script(
        f"""
        import os, sys
        sys.path[:0] = eval(sys.argv[1])
        os.environ["EARLYFORK"] = "0"
        import earlyfork
        import earlyfork.template
        import resource, work
        make = {NO_TEMPLATE[what]}
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        before = len(os.listdir("/proc/self/fd"))
        for limit in {(1, 2, 3) if what == "snapshot()" else (1, 1)}:
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))
            try:
                make()
            except BlockingIOError as error:
                assert error.errno == 11
                assert "launched" in str(error) or "template" in str(error), error
            else:
                raise AssertionError("it was made")
            assert len(os.listdir("/proc/self/fd")) == before
            try:
                raise AssertionError(os.wait())
            except ChildProcessError:
                pass
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        process = make()
        if {what == "snapshot()"}:
            process = process.fork()
        assert work.got(process.run("work.echo")) == ()
        assert process.wait(10) == 0
        print("good")
        """,
        tmp_path,
    )
    uid = uid_without_processes()
    path = [str(Path(__file__).parent), str(support.home_of_earlyfork())]
    command = [interpreter_for(uid, path), "-c", program.read_text(), repr(path)]
    done = subprocess.run(
        command,
        user=uid,
        group=uid,
        extra_groups=[],
        start_new_session=True,
        cwd="/",
        env=support.clean_env(EARLYFORK_PURE=pure),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stderr


# -- a host that forks ---------------------------------------------------------------------------

FORKING = """
    import os
    {first}
    import earlyfork
    import support, sys, warnings, work
    warnings.simplefilter("error")
    def use(tag):
        for number in range(3):
            process = earlyfork.new().send_arg(tag, number)
            assert work.got(process.run(work.echo)) == (tag, number)
            assert process.wait(10) == 0
        template = earlyfork.new().send_arg(tag)
        assert work.got(template.fork().run(work.echo)) == (tag,)
    {before}
    mine = earlyfork.new().send_arg("mine").ready(10)
    running = earlyfork.new()
    held = running.run(work.hold)
    assert held.recv(1) == b"!"
    pid = os.fork()
    if not pid:
        status = 1
        try:
            held.close()
            send = lambda: mine.send_arg(1)
            for call in (mine.ready, mine.fork, running.wait, running.kill, send):
                try:
                    call()
                except earlyfork.ProcessStateError:
                    continue
                raise AssertionError("it belongs to the parent")
            repr(mine), repr(running), earlyfork.status()
            use("child")
            inner = os.fork()
            if not inner:
                use("grandchild")
                os._exit(0)
            assert os.waitpid(inner, 0)[1] == 0
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(status)
    use("parent")
    assert os.waitpid(pid, 0)[1] == 0
    assert work.got(mine.run(work.echo)) == ("mine",)
    assert running.poll() is None
    held.close()
    assert running.wait(10) == 0
    use("parent")
    """


@pytest.mark.parametrize("before", ["", "use('before')"], ids=["at once", "in steady use"])
@pytest.mark.parametrize("origin", ["early", "launched"])
def test_both_sides_of_a_host_that_forks_can_go_on(
    run_script: Run, origin: str, before: str
) -> None:
    first = "" if origin == "early" else "os.environ['EARLYFORK'] = '0'"
    done = run_script(FORKING.format(first=first, before=before), check=True, env=WITH_WORK)
    assert done.stderr == ""


def test_a_forked_hosts_child_outlives_its_parent(start_script: Start) -> None:
    """The template lives as long as anybody holds it."""
    process = start_script(
        """
        import earlyfork
        import os, sys, work
        earlyfork.new().ready(10)
        if os.fork():
            os._exit(0)
        sys.stdin.readline()
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        assert earlyfork.status().early
        print("good", flush=True)
        """,
        stdin=subprocess.PIPE,
        env=WITH_WORK,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.wait(10) == 0
    process.stdin.write("\n")
    process.stdin.flush()
    assert support.read_until_eof(process.stdout.fileno()) == b"good\n"


@pytest.mark.parametrize("close", ["the streams", "everything"])
@pytest.mark.parametrize("used", [False, True])
def test_a_daemon(start_script: Start, tmp_path: Path, close: str, used: bool) -> None:
    """Double fork, setsid, closed streams: then new() starts processes as the daemon's own."""
    process = start_script(
        f"""
        import earlyfork
        import os, sys, traceback, warnings
        log = os.path.abspath("log")
        if {used}:
            for _ in range(3):
                earlyfork.new().ready(10).close()
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0)
        os.closerange(0, 3 if {close == "the streams"} else 1024)
        if {close == "everything"}:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
        verdict = "good"
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                import work
                for _ in range(3):
                    process = earlyfork.new()
                    seen = work.got(process.run(work.surroundings))
                    assert process.wait(10) == 0
                    null = os.stat(os.devnull).st_ino
                    assert seen["streams"] == [null] * 3, (null, seen["streams"])
                    assert seen["cwd"] == "/", seen
            assert len(caught) == {int(close == "everything")}, [str(w.message) for w in caught]
        except BaseException:
            verdict = traceback.format_exc()
        with open(log + ".new", "w") as file:
            file.write(verdict)
        os.rename(log + ".new", log)
        """,
        env=WITH_WORK,
    )
    assert process.wait(10) == 0
    assert process.stdout is not None
    # The terminal's side, or whoever started the daemon, is let go of.
    log = tmp_path / "log"
    support.wait_until(log.exists, 20)
    assert log.read_text() == "good"
    assert support.eof_within(process.stdout.fileno(), 5)
