"""SEMANTICS, "Early": who gets an early template, what is in it, and what ends it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import support
from earlyfork._shared import quick as _hot

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]
    Start = Callable[..., subprocess.Popen[str]]

#: Scripts that make workers of the tests' own functions, or wait by the tests' own means.
WITH_WORK = {"PYTHONPATH": support.python_path()}
TELL = "import earlyfork; s = earlyfork.status(); print(s.early, '|', s.reason)\n"


def write(folder: Path, **files: str) -> Path:
    """Files of a program, by dotted names: `pkg.sub` is pkg/sub.py."""
    for name, text in files.items():
        path = folder / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tell(folder: Path, *words: str, **env: str | None) -> str:
    """What a program prints, which ends well and says nothing on stderr."""
    done = subprocess.run(
        [*words],
        cwd=folder,
        env=support.clean_env(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


# -- who is the main program ---------------------------------------------------------------------

IMPORT = "import earlyfork\n"
MAIN_PROGRAMS = {
    "script": ({"prog": IMPORT + TELL}, ["prog.py"]),
    "command": ({}, ["-c", IMPORT + TELL]),
    "package that imports it in __init__": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL.replace(IMPORT, "")},
        ["-m", "pkg"],
    ),
    "package that imports it in __main__": (
        {"pkg.__init__": "", "pkg.__main__": IMPORT + TELL},
        ["-m", "pkg"],
    ),
    "package whose __main__ imports the part that does": (
        {"pkg.__init__": "", "pkg.cli": IMPORT + TELL, "pkg.__main__": "import pkg.cli"},
        ["-m", "pkg"],
    ),
    "package whose __init__ imports the part that does": (
        {"pkg.__init__": "from pkg import first", "pkg.first": IMPORT, "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "module of a package whose __init__ imports it": (
        {"pkg.__init__": IMPORT, "pkg.tool": TELL},
        ["-m", "pkg.tool"],
    ),
    "module": ({"mod": IMPORT + TELL}, ["-m", "mod"]),
    "module, flags in one word": ({"pkg.__init__": IMPORT, "pkg.__main__": TELL}, ["-Bmpkg"]),
    "module after options with values": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL},
        ["-W", "error", "-X", "utf8", "-m", "pkg"],
    ),
    "module after an option with a long name": (
        {"pkg.__init__": IMPORT, "pkg.__main__": TELL},
        ["-B", "--check-hash-based-pycs", "always", "-m", "pkg"],
    ),
    "directory": ({"app.__main__": IMPORT + TELL}, ["app"]),
    "function of the main program": ({"prog": f"def f():\n    {IMPORT}f()\n" + TELL}, ["prog.py"]),
}
LIBRARIES = {
    "library of a script": ({"lib": IMPORT, "prog": "import lib\n" + TELL}, ["prog.py"]),
    "library of a package's __init__": (
        {"lib": IMPORT, "pkg.__init__": "import lib", "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "library of a package's __main__": (
        {"lib": IMPORT, "pkg.__init__": "", "pkg.__main__": "import lib\n" + TELL},
        ["-m", "pkg"],
    ),
    "library with a longer name": (
        {"pkgs.__init__": IMPORT, "pkg.__init__": "import pkgs", "pkg.__main__": TELL},
        ["-m", "pkg"],
    ),
    "library that imports it in a function": (
        {"lib": f"def f():\n    {IMPORT}", "prog": "import lib\nlib.f()\n" + TELL},
        ["prog.py"],
    ),
    "library of a library": (
        {"lib": "import inner", "inner": IMPORT, "prog": "import lib\n" + TELL},
        ["prog.py"],
    ),
    "library of a command": ({"lib": IMPORT}, ["-c", "import lib\n" + TELL]),
    "a part of the package, asked for by a library": (
        {
            "pkg.__init__": "import lib",
            "pkg.part": IMPORT,
            "lib": "import pkg.part",
            "pkg.__main__": TELL,
        },
        ["-m", "pkg"],
    ),
}


def test_a_library_of_a_program_on_stdin(tmp_path: Path) -> None:
    write(tmp_path, lib=IMPORT)
    done = support.run_script(
        f"""
        import subprocess, sys
        program = "import lib\\n" + {TELL!r}
        done = subprocess.run([sys.executable], input=program, text=True, capture_output=True)
        print(done.stdout + done.stderr)
        """,
        directory=tmp_path,
        env={"PYTHONPATH": support.python_path(tmp_path)},
    )
    assert done.stdout.startswith("False | it was imported by lib, not by the main program\n")


def test_a_thread_that_no_python_code_started(tmp_path: Path) -> None:
    """On its stack is nothing but the library: nobody can say that the main program asked."""
    write(
        tmp_path,
        lib=f"def f():\n    {IMPORT}    go.release()\n",
        prog="import _thread, lib\nlib.go = _thread.allocate_lock(); lib.go.acquire()\n"
        "_thread.start_new_thread(lib.f, ())\nlib.go.acquire()\n" + TELL,
    )
    answer = tell(tmp_path, sys.executable, "prog.py")
    assert answer == "False | it was imported by lib, not by the main program\n"


@pytest.mark.parametrize("case", MAIN_PROGRAMS)
def test_the_main_program_gets_a_template(case: str, tmp_path: Path) -> None:
    files, words = MAIN_PROGRAMS[case]
    answer = tell(write(tmp_path, **files), sys.executable, *words)
    assert answer == "True | the main program imported earlyfork while it had one thread\n"


@pytest.mark.parametrize("case", LIBRARIES)
def test_a_library_never_forks_its_host(case: str, tmp_path: Path) -> None:
    files, words = LIBRARIES[case]
    answer = tell(write(tmp_path, **files), sys.executable, *words)
    assert re.fullmatch(r"False \| it was imported by \S+, not by the main program\n", answer)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare venv, for scripts that an installer would put there."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--symlinks", folder],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return folder


@pytest.mark.parametrize(
    ("files", "early"),
    [
        ({"app.__init__": IMPORT, "app.cli": "def main():\n    " + TELL}, True),
        ({"app.__init__": "", "app.cli": IMPORT + "def main():\n    " + TELL}, True),
        ({"app.__init__": "", "app.cli": "import lib\ndef main():\n    " + TELL}, False),
    ],
    ids=["in __init__", "in a module", "in a library"],
)
def test_console_script(
    venv: Path,
    tmp_path: Path,
    files: dict[str, str],
    early: bool,
) -> None:
    write(tmp_path, lib=IMPORT, **files)
    name = f"app-{tmp_path.name}"
    script = venv / "bin" / name
    script.write_text(
        f"#!{venv}/bin/python\nimport sys\nfrom app.cli import main\n"
        "if __name__ == '__main__':\n    sys.exit(main())\n"
    )
    script.chmod(0o755)
    answer = tell(tmp_path, str(script), PYTHONPATH=support.python_path(tmp_path))
    assert answer.startswith(f"{early} |")


def test_bare_interpreter(tmp_path: Path) -> None:
    """Without site, isolated: what site has loaded elsewhere is missing."""
    write(
        tmp_path,
        prog=f"import sys; sys.path.insert(0, {str(support.home_of_earlyfork())!r})\n"
        "import earlyfork\n"
        "p = earlyfork.new().eval('import sys; assert sys.flags.isolated and sys.flags.no_site')\n"
        "s = p.run('builtins.print')\n"
        "assert p.wait(10) == 0\n"
        "print(earlyfork.status().early)\n",
    )
    answer = tell(tmp_path, sys.executable, "-I", "-S", "prog.py")
    assert re.fullmatch(r"<socket.socket .*>\nTrue\n", answer)


def test_forbidden_by_the_environment(tmp_path: Path) -> None:
    write(tmp_path, prog=IMPORT + TELL)
    answer = tell(tmp_path, sys.executable, "prog.py", EARLYFORK="0")
    assert answer == "False | EARLYFORK=0 forbids it\n"


def test_ordered_by_the_environment(tmp_path: Path) -> None:
    write(tmp_path, lib=IMPORT, prog="import lib\n" + TELL)
    assert tell(tmp_path, sys.executable, "prog.py", EARLYFORK="1").startswith("True |")


def test_never_beside_a_thread_even_if_ordered(run_script: Run) -> None:
    done = run_script(THREADED, check=True, env={"EARLYFORK": "1"})
    assert done.stdout == "False\nworker\n"


@pytest.mark.parametrize("ordered", [None, "1"])
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing_make_no_templates(
    run_script: Run, method: str, ordered: str | None
) -> None:
    """Each of them runs the main program's first line again, or is a helper of theirs."""
    done = run_script(
        f"""
        import earlyfork
        import multiprocessing, os, support, sys
        from multiprocessing import shared_memory

        def child(answers, barrier):
            answers.put(earlyfork.status().early)
            barrier.wait()  # all of them are there when the templates are counted

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            answers, barrier = context.Queue(), context.Barrier(3)
            memory = shared_memory.SharedMemory(create=True, size=1)  # starts the tracker
            children = [context.Process(target=child, args=(answers, barrier)) for _ in range(2)]
            for process in children:
                process.start()
            told = [answers.get(timeout=20) for _ in children]
            names = list(support.session(os.getsid(0)).values())
            barrier.wait()
            for process in children:
                process.join()
                assert process.exitcode == 0
            memory.close()
            memory.unlink()
            earlyfork.new().ready(10)
            print(names.count("ef-template"), told)
        """,
        check=True,
        env={**WITH_WORK, "EARLYFORK": ordered},
        timeout=40,
    )
    shared = method == "fork"  # those share their parent's
    assert done.stdout == f"1 [{shared}, {shared}]\n"


def test_a_multiprocessing_child_can_make_processes(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        import multiprocessing

        def child(pipe):
            process = earlyfork.new()
            import work
            pipe.send(work.got(process.run(work.pid)) == process.pid)
            process.wait(10)

        if __name__ == "__main__":
            near, far = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=child, args=(far,))
            process.start()
            print(near.recv())
            process.join()
        """,
        check=True,
        env=WITH_WORK,
    )
    assert done.stdout == "True\n"
    assert done.stderr == ""


# -- python -m earlyfork run ---------------------------------------------------------------------

SHOW = """\
import sys, os
print(sys.argv)
print(__name__, __file__, __package__ or None, __spec__ and __spec__.name)
print(sys.path)
print(sys.modules["__main__"].__dict__ is globals(), sys.flags.optimize)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["one", "two words", ""],
        ["--help", "-m", "x", "run"],
        ["--", "-v"],
        ["a", "--", "b"],
        ["-m"],
    ],
)
@pytest.mark.parametrize("target", [["sub/prog.py"], ["-m", "pkg"], ["-m", "pkg.mod"]])
def test_run_is_as_without_it(tmp_path: Path, target: list[str], arguments: list[str]) -> None:
    write(tmp_path, **{"sub.prog": SHOW, "pkg.__init__": "", "pkg.__main__": SHOW, "pkg.mod": SHOW})
    # Its own name is its own, not the folder it happens to be found by.
    path = {"PYTHONPATH": support.python_path()}
    plain = tell(tmp_path, sys.executable, *target, *arguments, **path)
    under = tell(tmp_path, sys.executable, "-m", "earlyfork", "run", *target, *arguments, **path)
    assert under == plain


def test_run_gives_a_template_to_a_program_that_has_none(tmp_path: Path) -> None:
    write(tmp_path, lib=IMPORT, prog="import lib\n" + TELL)
    for target in (["prog.py"], ["-m", "prog"]):
        answer = tell(tmp_path, sys.executable, "-m", "earlyfork", "run", *target)
        assert answer == "True | the main program imported earlyfork while it had one thread\n"


@pytest.mark.parametrize(
    ("source", "status", "last"),
    [
        ("pass", 0, ""),
        ("import sys; sys.exit(7)", 7, ""),
        ("import sys; sys.exit('words')", 1, "words"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("def (", 1, "SyntaxError"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import os; os._exit(9)", 9, ""),
    ],
)
def test_run_passes_the_end_through(tmp_path: Path, source: str, status: int, last: str) -> None:
    write(tmp_path, prog=source + "\n")
    for target in (["prog.py"], ["-m", "prog"]):
        done = subprocess.run(
            [sys.executable, "-m", "earlyfork", "run", *target],
            cwd=tmp_path,
            env=support.clean_env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert (done.stderr.splitlines() or [""])[-1].startswith(last)
        if "Traceback" in done.stderr and "division" in last:
            assert re.search(r'prog\.py", line 1, in <module>', done.stderr)


def test_run_keeps_main_for_what_outlives_it(tmp_path: Path) -> None:
    """Threads and exit functions run on after the program's last line, and look there."""
    source = (
        "import atexit, sys, pickle\n"
        "def late():\n    print(sys.modules['__main__'].__dict__.get('VALUE'), flush=True)\n"
        "VALUE = 'still there'\n"
        "atexit.register(late)\n"
    )
    write(tmp_path, prog=source)
    for target in (["prog.py"], ["-m", "prog"]):
        answer = tell(tmp_path, sys.executable, "-m", "earlyfork", "run", *target)
        assert answer == "still there\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "missing.py"], "missing.py"),
        (["run", "-m", "no_such_module_here"], "No module named"),
        ([], "earlyfork"),
        (["run"], "earlyfork"),
    ],
)
def test_run_refuses_what_it_cannot_run(tmp_path: Path, words: list[str], text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "earlyfork", *words],
        cwd=tmp_path,
        env=support.clean_env(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode
    assert text in done.stderr
    assert "Traceback" not in done.stderr


# -- too late ------------------------------------------------------------------------------------

THREADED = """
    import threading, warnings
    event = threading.Event()
    thread = threading.Thread(target=event.wait, name="a-thread-of-the-host")
    thread.start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import earlyfork
    assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
    assert "a-thread-of-the-host" in str(caught[0].message)
    assert "first line" in str(caught[0].message)
    assert caught[0].filename == __file__, caught[0]
    print(earlyfork.status().early)
    process = earlyfork.new()  # launched instead
    sock = process.eval("def f(sock): sock.sendall(b'worker')").run("f")
    print(sock.recv(100).decode())
    assert process.wait(10) == 0
    event.set()
    """


def test_too_late_is_told_and_everything_works_by_exec(run_script: Run) -> None:
    done = run_script(THREADED, check=True)
    assert done.stdout == "False\nworker\n"


def test_a_library_that_comes_too_late_says_nothing(tmp_path: Path) -> None:
    write(
        tmp_path,
        lib=IMPORT,
        prog="import threading\nevent = threading.Event()\n"
        "threading.Thread(target=event.wait).start()\nimport lib\nevent.set()\n" + TELL,
    )
    assert tell(tmp_path, sys.executable, "prog.py").startswith("False |")


# -- the template is clean -----------------------------------------------------------------------


def test_it_holds_the_streams_and_its_own_sockets_only(run_script: Run) -> None:
    run_script(
        """
        import os, socket, tempfile
        pipes = [os.pipe() for _ in range(60)]
        pairs = [socket.socketpair() for _ in range(20)]
        files = [tempfile.TemporaryFile() for _ in range(20)]
        os.dup2(pipes[0][1], 900)
        for fd in range(3, 200):
            try:
                os.set_inheritable(fd, True)
            except OSError:
                pass
        theirs = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                  if int(fd) > 2 and os.path.exists(f"/proc/self/fd/{fd}")}
        import earlyfork
        import support

        def fds(pid):
            names = os.listdir(f"/proc/{pid}/fd")
            paths = {int(fd): f"/proc/{pid}/fd/{fd}" for fd in names}  # the listing's own is gone
            return {fd: os.readlink(path) for fd, path in paths.items() if os.path.lexists(path)}

        earlyfork.status()
        support.wait_until(lambda: earlyfork.status().templates[0].pid)
        pid = earlyfork.status().templates[0].pid
        found = fds(pid)
        mine = fds(os.getpid())
        assert [found.pop(fd) for fd in (0, 1, 2)] == [mine[fd] for fd in (0, 1, 2)]
        assert len(found) == 2, found  # comm and status
        assert not theirs & set(found.values()), found
        assert all(to.startswith("socket:") for to in found.values()), found
        # In use: its children's way up, its wakeup, its queue.
        process = earlyfork.new().ready(10)
        found = fds(pid)
        assert not theirs & set(found.values()), found
        assert all(to.startswith("socket:") for fd, to in found.items() if fd > 2), found
        assert len(found) < 20, found
        assert not theirs & set(fds(process.pid).values())
        """,
        check=True,
        env=WITH_WORK,
    )


def test_fds_above_a_limit_that_was_lowered_are_closed_too(run_script: Run) -> None:
    run_script(
        """
        import os, resource
        reader, writer = os.pipe()
        os.dup2(writer, 800)
        os.close(writer)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        import earlyfork
        import support
        earlyfork.new().ready(10)
        os.close(800)
        assert support.eof_within(reader, 5), "the template holds an fd of its main program"
        """,
        check=True,
        env=WITH_WORK,
    )


def test_nothing_of_the_main_program_is_in_it(run_script: Run, tmp_path: Path) -> None:
    """A fresh `__main__`, no half-imported module, no handler, a frozen heap."""
    write(
        tmp_path,
        look="""
import __main__, gc, signal, sys
assert not hasattr(__main__, "SECRET") and not hasattr(__main__, "__file__")
assert sys.modules["__main__"].__dict__ is globals()
assert __main__.__name__ == "__main__" and __main__.__spec__ is None
half = [name for name, module in list(sys.modules.items())
        if getattr(getattr(module, "__spec__", None), "_initializing", False)]
assert not half, half
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert gc.isenabled()
assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
""",
    )
    done = run_script(
        """
        import atexit, signal, sys
        SECRET = "of the main program"
        atexit.register(print, "exit function of the main program")
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        print("unflushed", end=" ")
        import earlyfork
        process = earlyfork.new().eval(open("look.py").read()).ready(10)
        process.run("builtins.id")
        assert process.wait(10) == 0
        """,
        check=True,
    )
    assert done.stdout == "unflushed exit function of the main program\n"


def test_umask_and_limits_are_the_callers_as_for_any_child(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        earlyfork.new().eval("import os; old = os.umask(0o022); assert old == args[0], oct(old)",
                             0o022).ready(10)
        """,
        check=True,
        umask=0o022,
    )


def test_a_module_that_was_half_imported_is_imported_anew(tmp_path: Path) -> None:
    """The package's first line imports earlyfork: its second half must run in the worker too."""
    write(
        tmp_path,
        **{
            "pkg.__init__": "import earlyfork\nfrom pkg import part\nWHOLE = True\n",
            "pkg.part": "",
            "pkg.worker": "import pkg\ndef f(sock):\n    assert pkg.WHOLE and pkg.part\n",
            "pkg.__main__": "import earlyfork\np = earlyfork.new()\np.run('pkg.worker.f').close()\n"
            "assert p.wait(10) == 0\nprint(earlyfork.status().early)\n",
        },
    )
    assert tell(tmp_path, sys.executable, "-m", "pkg") == "True\n"


def test_names_in_ps(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, support
        for _ in range(2):
            worker = earlyfork.new()
            sock = worker.run("work.hold")
            assert sock.recv(1) == b"!"
        prepared = earlyfork.new().ready(10)
        names = lambda: sorted({*support.session(os.getsid(0)).values()})
        me = support.comm(os.getpid())
        support.wait_until(lambda: "ef-standby" in names())
        assert support.comm(earlyfork.status().templates[0].pid) == "ef-template"
        assert support.comm(worker.pid) == "work.hold"
        ours = {"ef-template", "ef-standby", "ef-prepared", "work.hold"}
        assert set(names()) <= {me, *ours}, names()
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_package_that_begins_with_the_import_does_not_hang_threads(tmp_path: Path) -> None:
    """The trap: the template inherits import locks whose holder will never come back."""
    write(
        tmp_path,
        **{
            "pkg.__init__": "import earlyfork\nimport json\n",
            "pkg.worker": "",
            "pkg.__main__": "import earlyfork, work\n"
            "assert earlyfork.status().early\n"
            "p = earlyfork.new().send_arg('pkg.worker')\n"
            "print(work.got(p.run('work.import_in_thread')), p.wait(10))\n",
        },
    )
    answer = tell(tmp_path, sys.executable, "-m", "pkg", PYTHONPATH=support.python_path(tmp_path))
    assert answer == "True 0\n"


def test_siblings_do_not_share_a_random_stream(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import work
        template = earlyfork.new().require("random", "work")
        template.eval("def roll(sock): import random; work.give(sock, random.getrandbits(64))")
        template.eval("import work")
        rolled = {work.got(template.fork().run("roll")) for _ in range(6)}
        assert len(rolled) == 6, rolled
        """,
        check=True,
        env=WITH_WORK,
    )


def test_siblings_do_not_share_numpys_random_stream(run_script: Run) -> None:
    if importlib.util.find_spec("numpy") is None:  # imported here, it would leave its threads
        pytest.skip("no numpy")
    run_script(
        """
        import earlyfork
        import work
        template = earlyfork.new().require("numpy.random", "work")
        template.eval("import numpy, work; seeded = numpy.random.random()")
        template.eval("def roll(sock): work.give(sock, float(numpy.random.random()))")
        rolled = {work.got(template.fork().run("roll")) for _ in range(4)}
        assert len(rolled) == 4, rolled
        """,
        check=True,
        env=WITH_WORK,
    )


# -- nothing of it shows in the host -------------------------------------------------------------


def test_wait_finds_no_children(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        import os
        def look():
            try:
                print(os.wait())
            except ChildProcessError:
                print("none")
        look()
        process = earlyfork.new().ready(10)
        look()
        process.run("builtins.id")
        look()
        process.wait(10)
        look()
        """,
        check=True,
    )
    assert done.stdout == "none\n" * 4


def test_the_pipe_ends_with_the_program(run_script: Run) -> None:
    """`run_script` waits for the end of both streams."""
    done = run_script(
        """
        import earlyfork
        kept = [earlyfork.new().ready(10) for _ in range(3)]
        clone = kept[0].fork().ready(10)
        print("end")
        """,
        check=True,
        timeout=10,
    )
    assert done.stdout == "end\n"


@pytest.mark.parametrize("moment", ["at once", "with standbys and prepared processes"])
def test_the_pipe_ends_with_a_killed_program(start_script: Start, moment: str) -> None:
    process = start_script(
        f"""
        import earlyfork
        import signal
        if {moment != "at once"}:
            kept = [earlyfork.new().ready(10) for _ in range(3)]
            clone = kept[0].fork().ready(10)
            kept[1].eval("import signal\\nwhile True: signal.pause()")
        print("up", flush=True)
        signal.pause()
        """
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    assert support.read_until_eof(process.stdout.fileno(), 5) == b""
    assert support.read_until_eof(process.stderr.fileno(), 5) == b""


# -- a terminal ----------------------------------------------------------------------------------

#: Leads a session with a controlling terminal, as a shell does, and keeps a program in the
#: foreground: says when that is stopped, lets it go on when told, and gives its exit status.
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if not pid:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
report = int(os.environ["REPORT"])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.write(report, b"stopped %d\\n" % pid)
    os.read(int(os.environ["GO_ON"]), 1)
    os.killpg(pid, signal.SIGCONT)
os.write(report, b"ended %d\\n" % os.waitstatus_to_exitcode(status))
"""


class Terminal:
    """A program in the foreground of a real terminal."""

    def __init__(self, folder: Path, program: str) -> None:
        path = support.write_script(program, folder)
        self.master, slave = os.openpty()
        self.reports, report = os.pipe()
        go_on, self.go_on = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SHELL, sys.executable, str(path)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                pass_fds=(report, go_on),
                env=support.clean_env(REPORT=str(report), GO_ON=str(go_on), **WITH_WORK),
                cwd=folder,
            )
        finally:
            for fd in (slave, report, go_on):
                os.close(fd)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read what is shown until `text` is."""
        # Longer than a program's own waits, whose errors then are what is shown.
        for _ in support.ticks(2 * support.PATIENCE, self.master):
            while support.readable_within(self.master, 0):
                try:
                    self.seen += os.read(self.master, 4096).decode()
                except OSError:  # EIO: nobody has the other side open any more
                    break
            if text in self.seen:
                return
        raise AssertionError(f"{text!r} is not shown, but:\n{self.seen}")

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def report(self) -> str:
        """What the shell says next."""
        assert support.readable_within(self.reports, support.PATIENCE), self.seen
        return os.read(self.reports, 100).decode()

    def close(self) -> None:
        for pid in support.session(self.process.pid):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for fd in (self.master, self.reports, self.go_on):
            os.close(fd)


def test_ctrl_c_ends_no_template_and_a_worker_gets_it(tmp_path: Path) -> None:
    terminal = Terminal(
        tmp_path,
        """
        import earlyfork
        import signal, support, work
        support.wait_until(lambda: earlyfork.status().templates[0].pid)
        [template] = earlyfork.status().templates
        worker = earlyfork.new()
        assert worker.run(work.interrupted).recv(1) == b"!"
        prepared = earlyfork.new().send_arg("of before").ready(10)
        busy = earlyfork.new().eval("for n in range(10**7): pass")
        clone = prepared.fork().ready(10)
        try:
            print("press", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            print("main got it", flush=True)
        assert worker.wait(10) == -signal.SIGINT
        assert template in earlyfork.status().templates
        assert work.got(prepared.run(work.echo)) == ("of before",)
        assert work.got(clone.run(work.echo)) == ("of before",)
        assert work.got(earlyfork.new().send_arg("after").run(work.echo)) == ("after",)
        assert busy.ready(20)
        print("the end")
        """,
    )
    try:
        terminal.until("press")
        terminal.press(b"\3")
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"
        assert terminal.seen.count("KeyboardInterrupt") == 1, terminal.seen
        assert terminal.seen.count("Traceback") == 1, terminal.seen  # the worker's own
        assert "interrupted" in terminal.seen
    finally:
        terminal.close()


def test_ctrl_z_and_going_on(tmp_path: Path) -> None:
    terminal = Terminal(
        tmp_path,
        """
        import earlyfork
        import os, signal, support, work
        worker = earlyfork.new()
        sock = worker.run(work.hold)
        assert sock.recv(1) == b"!"
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
        print("press", worker.pid, flush=True)
        signal.sigwait([signal.SIGCONT])
        support.wait_until(lambda: support.state(worker.pid) != "T")
        sock.close()
        assert worker.wait(10) == 0
        assert work.got(earlyfork.new().send_arg("after").run(work.echo)) == ("after",)
        print("the end")
        """,
    )
    try:
        terminal.until("press")
        terminal.until("\n")
        worker = int(terminal.seen.split()[1])
        terminal.press(b"\x1a")
        assert terminal.report().startswith("stopped")
        support.wait_until(lambda: support.state(worker) == "T")
        os.write(terminal.go_on, b".")
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"
    finally:
        terminal.close()


def test_keys_that_the_main_program_ignores_stop_no_template(tmp_path: Path) -> None:
    """An editor, say: what it ignores must not stop or end what makes its processes."""
    terminal = Terminal(
        tmp_path,
        """
        import earlyfork
        import os, resource, signal, support, work
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGTSTP, signal.SIGQUIT, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        template = earlyfork.new().send_arg("kept").ready(10)
        template.fork().ready(10)
        workers = [earlyfork.new() for _ in range(3)]
        socks = [worker.run(work.hold) for worker in workers]
        assert all(sock.recv(1) == b"!" for sock in socks)
        print("press", *[worker.pid for worker in workers], flush=True)
        assert workers[0].wait(10) == -signal.SIGQUIT
        for number in range(3):
            assert work.got(earlyfork.new().send_arg(number).run(work.echo)) == (number,)
            assert work.got(template.fork().run(work.echo)) == ("kept",)
        print("the end")
        """,
    )
    try:
        terminal.until("press")
        terminal.until("\n")
        workers = [int(word) for word in terminal.seen.split()[1:]]
        terminal.press(b"\x1a")
        support.wait_until(lambda: all(support.state(pid) == "T" for pid in workers))
        terminal.press(b"\x1c")
        os.kill(workers[0], signal.SIGCONT)
        terminal.until("the end")
        assert terminal.report() == "ended 0\n"
    finally:
        terminal.close()


# -- streams that were closed --------------------------------------------------------------------


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_streams_closed_at_the_start(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """No socket of ours lands on 0 to 2, in any process."""
    path = support.write_script(
        """
        import earlyfork
        import os, stat, sys
        sys.path.append(sys.argv[1])
        fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(fd, 50)
        os.close(fd)
        closed = eval(sys.argv[3])
        def mine():
            found = []
            for fd in (0, 1, 2):
                try:
                    found.append(os.readlink(f"/proc/self/fd/{fd}"))
                except OSError:
                    found.append("closed")
            return found
        def of(pid):
            return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
        try:
            process = earlyfork.new().require("work").ready(10)
            template = earlyfork.status().templates[0].pid
            launched = earlyfork.new_exec(executable=sys.executable).ready(10)
            for pid in (template, process.pid, launched.pid):
                for fd in closed:
                    assert of(pid)[fd] == "/dev/null", (fd, of(pid))
            assert not [to for to in mine() if to.startswith("socket:")], mine()
            process.eval("import sys; print('out'); print('err', file=sys.stderr)")
            process.eval("sys.stdin.read()")
            process.ready(10)
            import work
            assert work.got(process.run(work.pid)) == process.pid
            assert process.wait(10) == 0
        except BaseException:
            import traceback
            os.write(50, traceback.format_exc().encode())
        else:
            os.write(50, b"good")
        """,
        tmp_path,
    )
    redirects = " ".join(f"{fd}>&-" for fd in closed)
    words = [sys.executable, path, Path(__file__).parent, tmp_path / "log", repr(closed)]
    subprocess.run(
        ["bash", "-c", f'exec "$@" {redirects}', "bash", *words],
        env=support.clean_env(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    assert (tmp_path / "log").read_text() == "good"


# -- a template that is lost ---------------------------------------------------------------------


def test_a_killed_template_is_replaced_and_told_once(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, signal, support, warnings, work

        def new():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                process = earlyfork.new()
            assert work.got(process.run(work.pid)) == process.pid
            assert process.wait(10) == 0
            return [(w.category.__name__, str(w.message), w.filename) for w in caught]

        def kill():
            [template] = earlyfork.status().templates
            os.kill(template.pid, signal.SIGKILL)
            # A standby that it was just forking holds its sockets for a moment more.
            support.wait_until(lambda: not earlyfork.status().templates)
            return str(template.pid)

        assert new() == []
        assert new() == []
        pid = kill()
        assert not earlyfork.status().early
        [(category, text, filename)] = new()
        assert category == "EarlyForkWarning" and pid in text and "early" in text, text
        assert filename == __file__, filename
        assert new() == []
        assert "the early template" in earlyfork.status().reason, earlyfork.status()
        pid = kill()
        [(category, text, filename)] = new()
        assert category == "EarlyForkWarning" and pid in text, text
        assert new() == []
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_template_that_is_killed_before_first_use(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, signal, support, warnings, work
        [pid] = [p for p, name in support.session(os.getsid(0)).items() if p != os.getpid()]
        os.kill(pid, signal.SIGKILL)
        assert support.gone_within(pid)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            process = earlyfork.new()
        assert work.got(process.run(work.pid)) == process.pid
        assert len(caught) == 1, caught
        """,
        check=True,
        env=WITH_WORK,
    )


def test_many_threads_replace_a_killed_template_once(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, signal, support, threading, warnings, work
        earlyfork.new().ready(10)
        pid = earlyfork.status().templates[0].pid
        os.kill(pid, signal.SIGKILL)
        support.wait_until(lambda: not earlyfork.status().templates)
        answers, barrier = [], threading.Barrier(6)

        def ask():
            barrier.wait()
            process = earlyfork.new()
            answers.append(work.got(process.run(work.pid)) == process.pid)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert answers == [True] * 6, answers
        assert len(caught) == 1, [str(w.message) for w in caught]
        assert len(earlyfork.status().templates) == 1
        """,
        check=True,
        env=WITH_WORK,
    )


def test_a_host_that_closes_all_fds_can_go_on(run_script: Run) -> None:
    """As daemons do; and a file that is given an old number of ours is not closed by us."""
    run_script(
        """
        import earlyfork
        import gc, os, tempfile, warnings, work
        for _ in range(3):  # standbys wait in the queue
            kept = earlyfork.new().ready(10)
        os.closerange(3, 256)
        files = [open(f"file-{n}", "w") for n in range(40)]
        theirs = {file.fileno(): os.fstat(file.fileno()).st_ino for file in files}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            process = earlyfork.new()
        assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
        assert "closed behind earlyfork's back" in str(caught[0].message)
        assert work.got(process.run(work.pid)) == process.pid
        assert process.wait(10) == 0
        assert work.got(earlyfork.new().run(work.pid))
        gc.collect()
        assert {fd: os.fstat(fd).st_ino for fd in theirs} == theirs
        for file in files:
            file.write("whole")
            file.close()
        assert {open(file.name).read() for file in files} == {"whole"}
        """,
        check=True,
        env=WITH_WORK,
    )


def test_status_tells_what_is_there(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import sys
        first = earlyfork.status()
        assert first.early and len(first.templates) == 1 and not first.processes
        assert sys.executable in first.interpreter, first.interpreter
        process = earlyfork.new().ready(10)
        page = str(earlyfork.status())
        assert "early template: yes" in page and str(process.pid) in page, page
        [entry] = earlyfork.status().processes
        assert (entry.pid, entry.state) == (process.pid, "preparing")
        process.close()
        assert not earlyfork.status().processes
        """,
        check=True,
    )


# -- at the first line -----------------------------------------------------------------------------


@pytest.mark.parametrize("pure", ["", "1"])
def test_it_loads_next_to_nothing(run_script: Run, pure: str) -> None:
    """What others may well import (`__future__`, `_socket`) is loaded when it is used."""
    done = run_script(
        """
        import sys; before = {*sys.modules}
        import earlyfork
        print(*sorted({*sys.modules} - before))
        """,
        check=True,
        env={"EARLYFORK_PURE": pure},
    )
    own = {"earlyfork", "earlyfork._early", "earlyfork._context"}
    if pure or _hot.quick is None:
        own |= {"earlyfork._fork_free", "_socket", "select"}
    else:
        own |= {"earlyfork._quick"}
    assert {*done.stdout.split()} <= own
    assert "earlyfork._early" in done.stdout


@pytest.mark.parametrize("pure", ["", "1"])
@pytest.mark.parametrize("where", ["everywhere", "but in main"])
def test_a_hook_that_forbids_to_fork(run_script: Run, pure: str, where: str) -> None:
    """There is one main program afterwards, with its signals and fds as they were."""
    done = run_script(
        """
        import os, signal, sys
        MAIN = os.getpid()
        def hook(event, args):
            if event == "os.fork" and (sys.argv[1] == "everywhere" or os.getpid() != MAIN):
                raise RuntimeError("no fork here")
        sys.addaudithook(hook)
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            import earlyfork
        except RuntimeError:
            assert sys.argv[1] == "everywhere"
        print(os.getpid() == MAIN, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        if "earlyfork" not in sys.modules:
            assert sorted(os.listdir("/proc/self/fd")) == before
        """,
        where,
        env={"EARLYFORK_PURE": pure},
    )
    assert done.stdout == "True set()\n", done


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_handler_that_raises_right_after_the_fork(run_script: Run, pure: str) -> None:
    """SIGCHLD comes for the process between: the template that nobody has is none."""
    done = run_script(
        """
        import os, signal
        def handler(number, frame):
            raise InterruptedError("on purpose")
        signal.signal(signal.SIGCHLD, handler)
        before = sorted(os.listdir("/proc/self/fd"))
        try:
            import earlyfork
        except InterruptedError:
            print("raised", sorted(os.listdir("/proc/self/fd")) == before)
        """,
        env={"EARLYFORK_PURE": pure},
    )
    assert done.stdout in ("raised True\n", ""), done  # handlers are called when Python likes


def test_settings_that_mean_nothing_are_named(run_script: Run) -> None:
    done = run_script(
        "import earlyfork; print(earlyfork.status().early, earlyfork.new().standby)",
        check=True,
        env={"EARLYFORK": "yes", "EARLYFORK_STANDBY": "many"},
    )
    assert done.stdout == "True 2\n"
    assert "EARLYFORK=yes is ignored" in done.stderr
    assert "EARLYFORK_STANDBY=many is ignored" in done.stderr


def test_a_setting_of_the_number_of_standbys(run_script: Run) -> None:
    done = run_script(
        "import earlyfork; print(earlyfork.new().standby)",
        check=True,
        env={"EARLYFORK_STANDBY": "0"},
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_its_names_are_listed_before_they_are_loaded(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        assert set(earlyfork.__all__) <= set(dir(earlyfork))
        try:
            earlyfork.nothing
        except AttributeError as error:
            assert "'nothing'" in str(error)
        else:
            raise AssertionError
        """,
        check=True,
    )


def test_broken_streams_do_not_stop_it(run_script: Run, tmp_path: Path) -> None:
    """A closed one, and one whose reader is gone: what is in it is written by nobody twice."""
    run_script(
        """
        import os, sys
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
        sys.stderr = open(2, "w", closefd=False)
        sys.stderr.write("lost")
        sys.stdout.close()
        import earlyfork, work
        process = earlyfork.new().send_arg("x")
        assert work.got(process.run(work.echo)) == ("x",)
        with open("early", "w") as file:
            file.write(str(earlyfork.status().early))
        sys.stderr = None
        """,
        env=WITH_WORK,
    )
    assert (tmp_path / "early").read_text() == "True"


def test_a_program_that_ignores_its_children(run_script: Run) -> None:
    """SIGCHLD ignored: the kernel reaps, and nothing can be waited for."""
    done = run_script(
        """
        import signal
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        import earlyfork, work
        for make in (earlyfork.new, earlyfork.new_exec):
            process = make().send_arg("x")
            assert work.got(process.run(work.echo)) == ("x",)
            assert process.wait(10) == 0
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        print(earlyfork.status().early)
        """,
        check=True,
        env=WITH_WORK,
    )
    assert done.stdout == "True\n"


def test_what_a_freezer_runs_for_multiprocessing_gets_none(tmp_path: Path) -> None:
    write(tmp_path, prog=IMPORT + TELL)
    answer = tell(tmp_path, sys.executable, "prog.py", "--multiprocessing-fork", "pipe_handle=7")
    assert answer == "False | this process belongs to multiprocessing\n"


# -- processes that ask for processes --------------------------------------------------------------


def test_a_worker_goes_on_without_the_template_it_came_from(run_script: Run) -> None:
    """Its next processes come from one that it launches, and a warning says why."""
    done = run_script(
        """
        import earlyfork, os, signal, support, work
        def asks(sock):
            import earlyfork, warnings
            sock.sendall(b"!")
            sock.recv(1)
            pending = earlyfork.new()
            sock.sendall(b"!")
            sock.recv(1)
            try:
                pending.pid
            except earlyfork.TemplateDied as error:
                assert "the process was never made" in str(error)
            else:
                raise AssertionError("made by whom?")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                inner = earlyfork.new().send_arg("x")
                answer = work.got(inner.run(work.echo)), inner.wait(10)
            try:
                earlyfork.sibling()
            except earlyfork.TemplateDied as error:
                work.give(sock, (answer, [str(one.message) for one in caught], str(error)))
        if __name__ == "__main__":
            from earlyfork.template import TEMPLATE
            process = TEMPLATE.fork()
            sock = process.run(asks)
            assert sock.recv(1) == b"!"
            templates = [template.pid for template in earlyfork.status().templates]
            for pid in templates:
                os.kill(pid, signal.SIGSTOP)
            sock.sendall(b"!")  # a request that nobody hears
            assert sock.recv(1) == b"!"
            for pid in templates:
                os.kill(pid, signal.SIGKILL)
                assert support.gone_within(pid)
            sock.sendall(b"!")
            answer, warned, refused = work.got(sock)
            assert answer == (("x",), 0)
            assert len(warned) == 1 and "the template that this process came from is gone" in warned[0]
            assert "the template of this process is gone" in refused
            print("went on")
        """,
        check=True,
        env=WITH_WORK,
    )
    assert done.stdout == "went on\n"


def test_siblings_are_for_processes_that_were_made(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        try:
            earlyfork.sibling()
        except earlyfork.TemplateDied as error:
            assert "no forker to ask" in str(error)
        else:
            raise AssertionError
        """,
        check=True,
    )


# -- handles ---------------------------------------------------------------------------------------


def test_handles_say_what_they_cannot_do(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork
        import os, socket
        from earlyfork.template import TEMPLATE
        def refused(kind, text, function, *args, **options):
            try:
                function(*args, **options)
            except kind as error:
                assert text in str(error), error
            else:
                raise AssertionError(text)
        TEMPLATE.ready(10)  # a root answers for itself
        refused(earlyfork.ProcessStateError, "never runs anything", TEMPLATE.run, "print")
        refused(earlyfork.ProcessStateError, "fork() it first", TEMPLATE.to_fh)
        refused(TypeError, "not int", earlyfork.new_from_fh, 7)
        refused(TypeError, "maps str to str", earlyfork.new, env=["A=1"])
        closed = socket.socket()
        closed.close()
        refused(ValueError, "closed socket", earlyfork.new_from_fh, closed)
        with socket.socket() as other:
            refused(ValueError, "takes the socket that to_fh() gave", earlyfork.new_from_fh, other)
        before = len(os.listdir("/proc/self/fd"))
        refused(earlyfork.LaunchError, "/no/such", earlyfork.new_exec, executable="/no/such", cwd="/")
        assert len(os.listdir("/proc/self/fd")) == before
        def shadowed():
            pass
        def main_function(sock):
            pass
        first, shadowed = shadowed, None
        refused(ValueError, "would find another", TEMPLATE.fork().run, first)
        refused(ValueError, "does not contain", earlyfork.new().run, main_function)
        import work
        process, linked = earlyfork.new(), earlyfork.new()
        sock = linked.run(work.hold, linked=True)
        if not (child := os.fork()):
            del linked  # the parent's: nothing happens
            refused(earlyfork.ProcessStateError, "only that one can watch it",
                    lambda: process.error)
            refused(earlyfork.ProcessStateError, "", lambda: process.pid)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert linked.poll() is None
        TEMPLATE.eval("raise LookupError('in a template')")
        refused(earlyfork.RemoteError, "in a template", TEMPLATE.ready, 10)
        print("all refused")
        """,
        check=True,
        env={**WITH_WORK},
    )
    assert done.stdout == "all refused\n"
