"""What a worker leaves is done when its end is told: files are written, finalizers have run."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

import earlyfork

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], earlyfork.Process]

#: Where a function can leave a file that it has not closed. `p` is its path.
LEFT = {
    "in a local": "f = open(p, 'w'); f.write('kept')",
    "in a global": "global g; g = open(p, 'w'); g.write('kept')",
    "in a binary global": "global g; g = open(p, 'wb'); g.write(b'kept')",
    "in an attribute": "sys.kept = open(p, 'w'); sys.kept.write('kept')",
    "in a cycle": "f = open(p, 'w'); f.me = f; f.write('kept')",
    "in a generator": """
        def lines(f):
            while True:
                f.write((yield))
        global it; it = lines(open(p, 'w')); next(it); it.send('kept')""",
    "in an exception": """
        f = open(p, 'w'); f.write('kept')
        raise LookupError(f)""",
    "by SystemExit": "f = open(p, 'w'); f.write('kept'); sys.exit(1)",
    "in a wrapper": "import io; global g; g = io.TextIOWrapper(open(p, 'wb')); g.write('kept')",
    "in a thread's local": """
        import threading
        def work(): threading.local().f = f = open(p, 'w'); f.write('kept')
        t = threading.Thread(target=work); t.start()""",
}


def function(body: str) -> str:
    """The text of a function `f` that does this."""
    lines = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return f"import sys\ndef f(sock, p):\n{lines}\n"


@pytest.mark.parametrize("body", LEFT.values(), ids=LEFT)
def test_what_was_written_is_on_disk(make: Make, tmp_path: Path, body: str) -> None:
    path = tmp_path / "file"
    process = make().eval(function(body)).send_arg(str(path))
    process.run("f").close()
    assert process.wait(10) == ("raise " in body or "exit(" in body)
    assert path.read_text() == "kept"


def test_a_file_that_was_sent(make: Make, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        process = make().eval("def f(sock, file): file.write('kept')").send_fh(file)
        process.run("f").close()
        assert process.wait(10) == 0
        assert (tmp_path / "file").read_text() == "kept"


def test_a_compressed_file_is_whole(make: Make, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "file.gz"
    body = "import gzip; global g; g = gzip.open(p, 'wb'); g.write(b'kept')"
    process = make().eval(function(body)).send_arg(str(path))
    process.run("f").close()
    assert process.wait(10) == 0
    with gzip.open(path) as file:
        assert file.read() == b"kept"


def test_a_file_that_its_template_has_opened(make: Make, tmp_path: Path) -> None:
    """What the template wrote is there once, what each worker writes is there."""
    path = tmp_path / "log"
    template = make().eval(
        "log = open(args[0], 'a'); log.write('template\\n')\ndef f(sock, n): log.write(f'{n}\\n')",
        str(path),
    )
    for number in (1, 2, 3):
        worker = template.fork().send_arg(number)
        worker.run("f").close()
        assert worker.wait(10) == 0
    assert path.read_text() == "template\n1\n2\n3\n"


def test_what_can_not_be_written_is_no_success(make: Make, tmp_path: Path) -> None:
    stderr = tmp_path / "stderr"
    process = make().eval(
        "import os\n"
        "os.dup2(os.open(args[0], os.O_WRONLY | os.O_CREAT), 2)\n"
        "def f(sock): global g; g = open('/dev/full', 'w'); g.write('x')",
        str(stderr),
    )
    process.run("f").close()
    assert process.wait(10) == 120
    assert "'/dev/full' was not written" in stderr.read_text()


FINALIZED = """
import atexit, logging, tempfile, weakref
class Thing: pass
inherited = Thing()
weakref.finalize(inherited, open, {path!r} + "/inherited", "w")
atexit.register(open, {path!r} + "/inherited exit", "w")
kept_directory = tempfile.TemporaryDirectory(dir={path!r}, prefix="kept")
def f(sock):
    import logging.handlers, os
    global thing, directory
    thing = Thing()
    weakref.finalize(thing, lambda: open({path!r} + "/finalized", "w").close())
    directory = tempfile.TemporaryDirectory(dir={path!r}, prefix="gone")
    os.stat(directory.name)
    handler = logging.handlers.MemoryHandler(100, target=logging.FileHandler({path!r} + "/log"))
    logging.getLogger().addHandler(handler)
    logging.warning("kept")
    class Cycle:
        def __del__(self): open({path!r} + "/deleted", "w").close()
    cycle = Cycle(); cycle.me = cycle
"""


def test_finalizers_and_logging(make: Make, tmp_path: Path) -> None:
    """A clone of a template that has imported all this ends as if it had imported it itself."""
    template = make().eval(FINALIZED.format(path=str(tmp_path))).ready(10)
    for clone in (template.fork(), template.fork()):
        clone.run("f").close()
        assert clone.wait(10) == 0
        found = {path.name[:4]: path for path in tmp_path.iterdir()}
        assert set(found) == {"fina", "log", "dele", "kept"}
        assert found["log"].read_text() == "kept\n"
        for name in ("fina", "log", "dele"):
            found[name].unlink()


@pytest.mark.parametrize("kind", ["async def f(sock): pass", "def f(sock): yield 1"])
def test_functions_that_would_do_nothing(make: Make, kind: str) -> None:
    process = make().eval(f"import sys; sys.stderr = None\n{kind}")
    process.run("f").close()
    with pytest.raises(earlyfork.RemoteError, match="of which nothing was run"):
        process.wait(10, check=True)
    assert process.returncode == 1


def test_what_stands_for_a_coroutine(make: Make) -> None:
    text = "async def g(): pass\nasync def h(): yield\ndef f(sock, n): return (g, h)[n]()"
    for number, name in enumerate(("coroutine", "async_generator")):
        process = make().eval(f"import sys; sys.stderr = None\n{text}").send_arg(number)
        process.run("f").close()
        with pytest.raises(earlyfork.RemoteError, match=f"returned a {name}"):
            process.wait(10, check=True)


@pytest.mark.parametrize("fails", [False, True])
def test_no_warning_of_ours_in_development_mode(run_script: Callable, fails: bool) -> None:
    """The worker's own socket is not closed by a function that does not care."""
    done = run_script(
        f"""
        import earlyfork
        process = earlyfork.new().eval("def f(sock, *_): {"1 / 0" if fails else "pass"}")
        process.send_arg(None)
        with process.run("f"):
            print(process.wait(10))
        """,
        flags=("-X", "dev"),
        check=True,
    )
    assert done.stdout == f"{int(fails)}\n"
    assert "Warning" not in done.stderr
    assert ("ZeroDivisionError" in done.stderr) == fails


@pytest.mark.parametrize("flag", ["-X faulthandler", "-X dev", "PYTHONFAULTHANDLER=1", ""])
@pytest.mark.parametrize("origin", ["import earlyfork", "EARLYFORK=0"])
def test_a_crash_prints_its_traceback(run_script: Callable, flag: str, origin: str) -> None:
    env = {}
    if origin != "import earlyfork":
        env["EARLYFORK"] = "0"
    if flag.startswith("PYTHON"):
        env["PYTHONFAULTHANDLER"] = "1"
    done = run_script(
        """
        import earlyfork
        process = earlyfork.new().eval(
            "def f(sock):\\n"
            "    import resource, signal\\n"
            "    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\\n"
            "    signal.raise_signal(signal.SIGSEGV)\\n"
        )
        process.run("f").close()
        print(process.wait(10))
        """,
        flags=tuple(flag.split()) if flag.startswith("-") else (),
        env=env,
        check=True,
    )
    assert done.stdout == "-11\n"
    assert ("Segmentation fault" in done.stderr) == bool(flag)
    assert ('" in f' in done.stderr or "in f\n" in done.stderr) == bool(flag)


def test_a_worker_enables_the_fault_handler_itself(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "crash"
    process = make().eval(
        "def f(sock, path):\n"
        "    import faulthandler, resource, signal\n"
        "    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "    faulthandler.enable(open(path, 'w'))\n"
        "    signal.raise_signal(signal.SIGSEGV)\n"
    )
    process.send_arg(str(path)).run("f").close()
    assert process.wait(10) == -11
    assert "Segmentation fault" in path.read_text()
