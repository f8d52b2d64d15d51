"""SEMANTICS, "Template": the main program as a template of itself."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

WITH_WORK = {"PYTHONPATH": support.python_path()}

#: A program that runs its own function, which reads what the program had made.
PROGRAM = """
{first}
import os, work
TABLE = {{"made by": os.getpid()}}
def answer(sock, *values):
    work.give(sock, (TABLE, __name__, os.getpid(), values))
from earlyfork.template import TEMPLATE
TABLE["later"] = 1
def ask(function):
    process = TEMPLATE.fork().send_arg("x")
    table, name, pid, values = work.got(process.run(function))
    assert table == {{"made by": os.getpid()}}, table
    assert pid == process.pid != os.getpid()
    assert values == ("x",)
    assert process.wait(10) == 0
    return name
print(ask("answer"), ask(answer))
"""


def interpret(
    folder: Path, *words: str, stdin: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run an interpreter; its streams must end with it."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=support.clean_env(**{**WITH_WORK, **env}),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.mark.parametrize("first", ["import earlyfork", ""], ids=["early", "without early"])
@pytest.mark.parametrize("kind", ["script", "command", "module", "package", "repl"])
def test_functions_and_objects_of_the_main_program(tmp_path: Path, kind: str, first: str) -> None:
    text = PROGRAM.format(first=first)
    stdin = None
    if kind == "script":
        (tmp_path / "prog.py").write_text(text)
        words = ["prog.py"]
    elif kind == "command":
        words = ["-c", text]
    elif kind == "module":
        (tmp_path / "prog.py").write_text(text)
        words = ["-m", "prog"]
    elif kind == "package":
        (tmp_path / "prog").mkdir()
        (tmp_path / "prog" / "__init__.py").write_text(first)
        (tmp_path / "prog" / "__main__.py").write_text(text)
        words = ["-m", "prog"]
    else:
        # At a prompt, a block ends with an empty line.
        stdin = text.replace("\nfrom earlyfork", "\n\nfrom earlyfork").replace(
            "\nprint(", "\n\nprint("
        )
        words = ["-i", "-q"]
    done = interpret(tmp_path, *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "__main__ __main__\n", done.stdout + done.stderr
    if kind != "repl":
        assert done.stderr == ""


def test_a_library_is_told_that_it_may_not(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text("from earlyfork.template import TEMPLATE\n")
    (tmp_path / "prog.py").write_text(
        "import earlyfork, sys\n"
        "try:\n    import lib\n"
        "except earlyfork.TemplateError as error:\n    print(error)\n"
        "assert 'lib' not in sys.modules\n"
        "from earlyfork.template import TEMPLATE\n"  # it did not stop the main program's own
        "TEMPLATE.fork().ready(10)\n"
    )
    done = interpret(tmp_path, "prog.py")
    assert done.returncode == 0, done.stderr
    assert "only the main program may take a snapshot of itself, not lib" in done.stdout
    assert "earlyfork.new()" in done.stdout


def test_python_threads_are_refused_by_name(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import _thread, threading
        event = threading.Event()
        thread = threading.Thread(target=event.wait, name="the-threads-name")
        thread.start()
        def taken():
            try:
                from earlyfork.template import TEMPLATE
            except earlyfork.TemplateError as error:
                return str(error)
        text = taken()
        assert "the-threads-name" in text and "other threads run" in text, text
        event.set()
        thread.join()
        lock = _thread.allocate_lock()
        lock.acquire()
        begun = threading.Event()
        _thread.start_new_thread(lambda: (begun.set(), lock.acquire(), lock.release()), ())
        begun.wait()
        text = taken()
        assert "unnamed thread of _thread" in text, text
        lock.release()
        import support
        support.wait_until(lambda: not _thread._count())
        from earlyfork.template import TEMPLATE
        TEMPLATE.fork().ready(10)
        """,
        check=True,
        env=WITH_WORK,
    )


NATIVE = r"""
#include <pthread.h>
#include <unistd.h>
#include <sys/prctl.h>
static int pipe_[2];
static void *body(void *unused) {
    char byte;
    prctl(PR_SET_NAME, "native-pool", 0, 0, 0);
    write(pipe_[1], "!", 1);
    for (;;) pause();
    return 0;
}
int start(void) {
    pthread_t thread;
    char byte;
    if (pipe(pipe_) || pthread_create(&thread, 0, body, 0)) return -1;
    return read(pipe_[0], &byte, 1);
}
"""


def test_native_threads_are_a_warning_that_names_them(run_script: Run, tmp_path: Path) -> None:
    (tmp_path / "native.c").write_text(NATIVE)
    command = ["cc", "-shared", "-fPIC", "-pthread", "-o", "native.so", "native.c"]
    try:
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    run_script(
        """
        import earlyfork
        import ctypes, os, warnings, work
        assert ctypes.CDLL(os.path.abspath("native.so")).start() == 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from earlyfork.template import TEMPLATE
        assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
        assert "native-pool" in str(caught[0].message), caught[0]
        assert caught[0].filename == __file__, caught[0]
        process = TEMPLATE.fork()
        assert work.got(process.run(work.pid)) == process.pid
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from earlyfork.template import snapshot
            snapshot().fork().ready(10)
        assert [w.filename for w in caught] == [__file__], caught
        """,
        check=True,
        env=WITH_WORK,
    )


# -- its files -----------------------------------------------------------------------------------


def test_peers_of_the_program_see_its_end(run_script: Run) -> None:
    """A snapshot holds no end of a pipe or of a connection open."""
    run_script(
        """
        import earlyfork
        import os, socket, support
        reader, writer = os.pipe()
        near, far = socket.socketpair()
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        master, slave = os.openpty()
        from earlyfork.template import TEMPLATE
        standing = TEMPLATE.fork().ready(10)
        os.close(writer)
        near.close()
        accepted.close()
        for fd in (reader, far.fileno(), client.fileno()):
            assert support.eof_within(fd, 5), fd
        # The other way too: writing to what nobody reads is an error.
        reader, writer = os.pipe()
        second = __import__("earlyfork.template").template.snapshot()
        second.fork().ready(10)
        os.close(reader)
        try:
            os.write(writer, b"x")
        except BrokenPipeError:
            pass
        else:
            raise AssertionError("the snapshot reads this pipe")
        """,
        check=True,
        env=WITH_WORK,
    )


def test_what_harms_nobody_stays_open(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, socket, tempfile, work
        file = open("data", "w+")
        file.write("before ")
        file.flush()
        directory = os.open(".", os.O_RDONLY)
        null = open(os.devnull)
        server = socket.create_server(("127.0.0.1", 0))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind("listening")
        unix.listen()

        def use(sock):
            file.write("by the worker")
            file.flush()
            os.stat("data", dir_fd=directory)
            assert null.read() == ""
            for listening in (server, unix):
                connection, _ = listening.accept()
                connection.sendall(b"served")
                connection.close()
            sock.close()

        from earlyfork.template import TEMPLATE
        process = TEMPLATE.fork()
        sock = process.run(use)
        with socket.create_connection(server.getsockname()) as client:
            assert client.recv(100) == b"served"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("listening")
            assert client.recv(100) == b"served"
        assert process.wait(10) == 0
        assert open("data").read() == "before by the worker"
        """,
        check=True,
        env=WITH_WORK,
    )


def test_keep_fds(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, support
        reader, writer = os.pipe()
        lost_reader, lost = os.pipe()

        def speak(sock):
            os.write(writer, b"kept")
            try:
                os.write(lost, b"lost")
            except OSError as error:
                os.write(writer, type(error).__name__.encode())

        from earlyfork.template import snapshot
        kept = snapshot(keep_fds=[writer])
        process = kept.fork()
        process.run(speak)
        assert process.wait(10) == 0
        os.close(writer)
        os.close(lost)
        assert os.read(reader, 100) in (b"keptBrokenPipeError", b"keptOSError")
        assert not support.readable_within(reader, 0), "the snapshot itself keeps it"
        kept.close()
        process.close()
        assert support.eof_within(reader, 5)
        assert support.read_until_eof(lost_reader, 5) == b""

        for bad in (-1, 12345, "7", 1 << 40):
            try:
                snapshot(keep_fds=[bad])
            except ValueError as error:
                assert "keep_fds" in str(error) and repr(bad) in str(error), error
            else:
                raise AssertionError(bad)
        """,
        check=True,
        env=WITH_WORK,
    )


def test_stale_objects_close_nothing_of_others(run_script: Run) -> None:
    """The worker closes, or collects, what the program had open: its own files stay whole."""
    run_script(
        """
        import earlyfork
        import gc, os, socket, work
        pairs = [socket.socketpair() for _ in range(10)]
        reader, writer = os.pipe()
        stream = os.fdopen(writer, "w")
        stream.write("buffered, and only to be written once")
        other = earlyfork.new().ready(10)
        running = earlyfork.new()
        held = running.run(work.hold)
        assert held.recv(1) == b"!"

        def use(sock, *files):
            mine = [open(f"mine-{n}", "w") for n in range(30)]
            theirs = {f.fileno(): os.fstat(f.fileno()).st_ino for f in (*mine, *files, sock)}
            global pairs, other, running, held
            for near, far in pairs:
                near.close()
            del pairs, other, running, held
            gc.collect()
            assert {fd: os.fstat(fd).st_ino for fd in theirs} == theirs
            work.give(sock, "whole")

        from earlyfork.template import TEMPLATE
        process = TEMPLATE.fork().send_fh(open("sent", "w"))
        assert work.got(process.run(use)) == "whole"
        assert process.wait(10) == 0
        # Nothing of the program's was hit either.
        pairs[0][0].sendall(b"open")
        assert pairs[0][1].recv(10) == b"open"
        other.eval("pass").ready(10)
        assert running.poll() is None
        held.close()
        assert running.wait(10) == 0
        stream.close()
        assert os.read(reader, 1000) == b"buffered, and only to be written once"
        """,
        check=True,
        env=WITH_WORK,
    )


def test_handles_of_the_program_are_of_no_use_in_it(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import work
        prepared = earlyfork.new().ready(10)
        running = earlyfork.new()
        held = running.run(work.hold)
        assert held.recv(1) == b"!"

        def use(sock):
            refused = []
            fork = TEMPLATE_BEFORE.fork
            for call in (prepared.fork, prepared.ready, running.wait, running.kill, fork):
                try:
                    call()
                except earlyfork.EarlyForkError as error:
                    refused.append(type(error).__name__)
            repr(prepared), repr(running), earlyfork.status()
            work.give(sock, refused)

        from earlyfork.template import TEMPLATE as TEMPLATE_BEFORE, snapshot
        process = snapshot().fork()
        assert work.got(process.run(use)) == ["ProcessStateError"] * 5
        assert process.wait(10) == 0
        assert running.poll() is None
        """,
        check=True,
        env=WITH_WORK,
    )


# -- what comes from it --------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["import earlyfork", "import sys as earlyfork"])
def test_a_new_process_within_a_snapshots_worker_is_clean(run_script: Run, first: str) -> None:
    """It comes from the program's default template, not from the snapshot."""
    text = """
        import work
        SECRET = 1
        def within(sock):
            import earlyfork
            process = earlyfork.new()
            process.eval("import __main__; assert not hasattr(__main__, 'SECRET')")
            process.eval("assert not hasattr(__main__, '__file__')").ready(10)
            with open(f"/proc/{process.pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            pid = work.got(process.run(work.pid))
            work.give(sock, (pid == process.pid, process.wait(10), parent))
        def further(sock):
            process = __import__("earlyfork").new().send_arg(2)
            work.give(sock, len(set(work.got(process.run(work.nested)))))
        from earlyfork.template import TEMPLATE
        import earlyfork
        for _ in range(2):
            process = TEMPLATE.fork()
            right, status, parent = work.got(process.run(within))
            assert (right, status) == (True, 0)
            assert process.wait(10) == 0
            templates = {t.pid: t.name for t in earlyfork.status().templates}
            if "early" in templates.values():
                assert templates[parent] == "early", (parent, templates)
        assert work.got(TEMPLATE.fork().run(further)) == 3
    """
    run_script(first + "\n" + textwrap.dedent(text), check=True, env=WITH_WORK)


def test_snapshots_at_different_times_see_different_states(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, work
        state = ["first"]
        def tell(sock):
            work.give(sock, state)
        from earlyfork.template import TEMPLATE, snapshot
        state.append("second")
        second = snapshot()
        state.append("third")
        third = snapshot()
        state.clear()
        import earlyfork.template as again
        assert again.TEMPLATE is TEMPLATE  # imported once, taken once
        for _ in range(3):  # standbys too
            told = [work.got(t.fork().run(tell)) for t in (TEMPLATE, second, third)]
            assert told == [["first"], ["first", "second"], ["first", "second", "third"]], told
        pids = [entry.pid for entry in earlyfork.status().templates if entry.name == "snapshot"]
        assert len(set(pids)) == 3, earlyfork.status()
        third.close()
        import support
        support.wait_until(lambda: sum(not support.alive(pid) for pid in pids) == 1)
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_snapshot_within_a_worker(run_script: Run) -> None:
    """A worker is a program as well, and may take one of itself."""
    run_script(
        """
        import earlyfork
        import work
        def outer(sock):
            global STATE
            STATE = "of the worker"
            from earlyfork.template import snapshot
            process = snapshot().fork()
            work.give(sock, work.got(process.run(inner)))
        def inner(sock):
            work.give(sock, STATE)
        from earlyfork.template import TEMPLATE
        process = TEMPLATE.fork()
        assert work.got(process.run(outer)) == "of the worker"
        assert process.wait(10) == 0
        """,
        check=True,
        env=WITH_WORK,
    )


def test_it_is_no_child_and_its_exit_functions_do_not_run(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        import atexit, os, work
        print("written once", end="; ")
        atexit.register(print, "exit function")
        from earlyfork.template import TEMPLATE
        try:
            os.wait()
        except ChildProcessError:
            print("no children", end="; ")
        process = TEMPLATE.fork()
        process.run(work.returns)
        assert process.wait(10) == 0
        TEMPLATE.close()
        """,
        check=True,
        env=WITH_WORK,
    )
    assert done.stdout == "written once; no children; exit function\n"


def test_modules_that_were_half_imported_do_not_hang_its_threads(tmp_path: Path) -> None:
    """A package takes the snapshot on the way: its modules stay, their locks are let go."""
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("from earlyfork.template import TEMPLATE\nLATER = 1\n")
    (package / "__main__.py").write_text(
        "from pkg import TEMPLATE\nimport work\n"
        "process = TEMPLATE.fork().send_arg('pkg')\n"
        "print(work.got(process.run('work.import_in_thread')), process.wait(10))\n"
    )
    done = interpret(tmp_path, "-m", "pkg")
    assert done.stdout == "True 0\n", done.stderr


def test_context_is_the_snapshots(run_script: Run) -> None:
    """`fork` keeps what the template was prepared with, also where the program has moved on."""
    run_script(
        """
        import earlyfork
        import os, work
        os.environ["WHEN"] = "then"
        os.mkdir("other")
        from earlyfork.template import TEMPLATE
        os.environ["WHEN"] = "now"
        here = os.getcwd()
        os.chdir("other")
        seen = work.got(TEMPLATE.fork().run(work.environment))
        assert seen["WHEN"] == "then"
        assert work.got(TEMPLATE.fork().run(work.surroundings))["cwd"] == here
        assert work.got(earlyfork.new().run(work.environment))["WHEN"] == "now"
        """,
        check=True,
        env=WITH_WORK,
    )


def test_status_tells_what_it_inherited(run_script: Run) -> None:
    """Open sockets that are not listening, and other leaks."""
    run_script(
        """
        import earlyfork
        import os, socket
        near, far = socket.socketpair()
        from earlyfork.template import TEMPLATE
        status = earlyfork.status()
        assert any("socket" in line for line in status.inherited), status
        assert "inherited" in str(status)
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_killed_snapshot_says_so_and_is_not_replaced(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, signal, support, work
        from earlyfork.template import TEMPLATE
        TEMPLATE.fork().ready(10)
        pid = TEMPLATE.pid
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)
        for _ in range(5):
            try:
                TEMPLATE.fork().ready(10)
            except earlyfork.ProcessLost:  # a standby is a clone all the same, with nobody to ask
                continue
            except earlyfork.TemplateDied as error:
                assert str(pid) in str(error), error
                break
        else:
            raise AssertionError("no word of it")
        assert work.got(earlyfork.new().send_arg(1).run(work.echo)) == (1,)
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_main_module_that_multiprocessing_runs_again_has_none(run_script: Run) -> None:
    """The import is no error there, since the line stands in every such program; its use is."""
    done = run_script(
        """
        import earlyfork, multiprocessing
        from earlyfork.template import TEMPLATE
        def use(answers):
            try:
                TEMPLATE.fork()
            except earlyfork.TemplateError as error:
                answers.put(str(error))
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            answers = context.SimpleQueue()
            worker = context.Process(target=use, args=(answers,))
            worker.start()
            print(answers.get())
            worker.join()
        """,
        check=True,
    )
    assert done.stdout.startswith("this process runs the main module again for multiprocessing")
