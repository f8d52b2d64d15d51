"""The hot path in C: it is there where it should be, knows the protocol, and can be left out."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
import support
from earlyfork import _context, _hot, _wire

if TYPE_CHECKING:
    from support import Run

SOURCE = Path(__file__).parent.parent / "src" / "earlyfork" / "_quick.c"
BUILT = pytest.mark.skipif(_hot.quick is None, reason="the part in C was not built here")
quick = _hot.quick


def test_it_was_built_where_there_is_a_compiler() -> None:
    if not sys.platform.startswith("linux") or os.environ.get("EARLYFORK_PURE"):
        pytest.skip("it is made for Linux, and can be left out by EARLYFORK_PURE")
    command = ["cc", "-fsyntax-only", "-x", "c", "-"]
    env = {"CPATH": sysconfig.get_path("include")}
    compiled = support.run_command(command, env=env, stdin_text="#include <Python.h>")
    if compiled.returncode:
        pytest.skip(f"no compiler for it: {compiled.stderr[:100]}")
    assert _hot.quick is not None


def test_the_numbers_in_c_are_those_of_the_protocol() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    known = dict(re.findall(r"\b([A-Z_]+) = (\d+)\b", text.partition("/* What `turn`")[0]))
    assert known.pop("PAD") == str(_wire.PAD)
    assert known.pop("HEAD") == str(_wire.HEAD.size)
    assert known.pop("FRAME") == str(_wire.FRAME.size)
    assert int(known.pop("LARGE")) < _wire.BULK_FROM
    assert len(known) >= 6
    assert known == {name: str(getattr(_wire, name)) for name in known}


@BUILT
@pytest.mark.parametrize("program", ["early", "launched"])
def test_templates_use_it_unless_told_not_to(program: str, run_script: Run) -> None:
    first = "import earlyfork" if program == "early" else "import os; os.environ['EARLYFORK'] = '0'"
    source = f"""
        {first}
        import earlyfork, work
        print(work.got(earlyfork.new().run(work.what_serves)))
        """
    assert "_quick" in run_script(source, env=support.with_work()).stdout
    assert run_script(source, env=support.with_work(EARLYFORK_PURE="1")).stdout == "None\n"


@BUILT
def test_a_launched_interpreter_of_another_build_does_without(run_script: Run) -> None:
    done = run_script(
        """
        import os; os.environ['EARLYFORK'] = '0'
        import earlyfork, work
        from earlyfork import _hot
        _hot.quick.__file__ = "/nowhere/_quick.another-build.so"
        print(work.got(earlyfork.new().run(work.what_serves)))
        _hot.quick.__file__ = "/nowhere/_quick" + __import__("_imp").extension_suffixes()[0]
        earlyfork.status().templates
        print(work.got(earlyfork.new_exec().run(work.what_serves)))
        """,
        env=support.with_work(),
    )
    assert done.stdout == "None\nNone\n", done.stderr


@BUILT
def test_taking_a_standby() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    comm, far_comm = socket.socketpair()
    with ours, theirs, comm, far_comm:

        def take() -> object:
            return quick.take(comm.fileno(), -1, ours.fileno())

        assert take() is None
        with Path(os.devnull).open() as one, Path(os.devnull).open() as two:
            fds = [one.fileno(), two.fileno()]
            socket.send_fds(theirs, [(7).to_bytes(4, "big") + (1234).to_bytes(4, "big")], fds)
            socket.send_fds(theirs, [b"short"], fds)
            socket.send_fds(theirs, [b"12345678"], fds[:1])
        generation, pid, *found = take()  # type: ignore[misc]
        assert (generation, pid) == (7, 1234)
        for fd in found:
            assert not os.get_inheritable(fd)
            os.close(fd)
        assert take() == -1
        assert take() == -1
        theirs.close()
        assert take() == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            quick.take(comm.fileno(), -1, 12345)
        far_comm.close()
        assert take() == -2
    with pytest.raises(TypeError):
        quick.take("comm", -1, "queue")


@BUILT
def test_the_same_place() -> None:
    cwd, stdio = _context.cwd_identity(), _context.stdio_identity()
    assert quick.same_place(cwd, stdio)
    assert not quick.same_place(None, stdio)
    assert cwd is not None
    assert not quick.same_place((cwd[0], cwd[1] + 1), stdio)
    assert not quick.same_place(cwd, (stdio[0], stdio[1], (1, 2, 3)))
    assert not quick.same_place(cwd, (stdio[0], None, stdio[2]))
    with pytest.raises(TypeError):
        quick.same_place((cwd[0], "inode"), stdio)


@BUILT
def test_the_inode() -> None:
    with Path(os.devnull).open() as file:
        assert quick.inode(file.fileno()) == os.fstat(file.fileno()).st_ino
    assert quick.inode(12345) == 0


@BUILT
def test_bad_arguments_are_refused() -> None:
    def step(said: object) -> tuple[int, int]:
        if isinstance(said, BaseException):  # what the loop can't do is told, not lost
            raise said
        return 1, 2

    with pytest.raises(TypeError):
        quick.serve(step)
    with pytest.raises(TypeError):
        quick.know(1)
    with pytest.raises(TypeError):
        quick.listen("nowhere")


@BUILT
def test_surroundings_and_a_run_in_one_batch_are_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent with RUN is applied in C: variables set, changed and removed, a long path."""
    work.got(earlyfork.new().run(work.place))
    kept = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    environment = kept | {"ONE": "1", "EMPTY": "", "SIGN": "a=b", "ODD": "\udcff\u20ac"}
    for size in (1, 3, 50, 500):  # from one page to more than is looked at in C
        path = [*sys.path, *(f"/nowhere/{'x' * 50}{number}" for number in range(size))]
        with monkeypatch.context() as patched:
            patched.setattr(sys, "path", path)
            patched.delenv("HOME", raising=False)
            patched.setenv("NOW", str(size))
            found = work.got(earlyfork.new().run(work.place))
            assert found == (dict(os.environ), str(Path.cwd()), path)
            process = earlyfork.new(env=environment, cwd=tmp_path)
            assert work.got(process.run(work.place)) == (environment, str(tmp_path), path)


def test_handlers_of_a_template_are_called_while_it_waits() -> None:
    template = (
        earlyfork.new()
        .require("work")
        .eval(
            "import signal, os\n"
            "signal.signal(signal.SIGUSR1, lambda *_: os.environ.__setitem__('HEARD', 'yes'))"
        )
    )
    work.got(template.fork().run(work.echo))
    template.send_signal(signal.SIGUSR1)
    template.eval("pass").ready(10)
    assert work.got(template.fork().run(work.place))[0].get("HEARD") == "yes"


def test_a_handler_that_raises_ends_the_template_and_says_so() -> None:
    template = (
        earlyfork.new()
        .require("work")
        .eval(
            "import signal, sys\n"
            "def handler(*_):\n"
            "    sys.stderr = None\n"
            "    raise LookupError('on purpose')\n"
            "signal.signal(signal.SIGUSR1, handler)"
        )
    )
    work.got(template.fork().run(work.echo))
    template.send_signal(signal.SIGUSR1)
    assert template.wait(10) == 1
    assert template.error is not None
    assert "on purpose" in str(template.error)


def test_sigchld_is_as_in_a_fresh_interpreter() -> None:
    """In workers, and for code in templates that sets its own handler or wakeup fd."""
    template = (
        earlyfork.new()
        .require("work")
        .eval("import signal; signal.signal(signal.SIGCHLD, lambda *_: None)")
    )
    for _ in range(3):
        assert work.got(template.fork().run(work.death_signals)) == (signal.SIG_DFL, -1)
    process = template.fork().send_arg(3)
    process.run(work.os_exit).close()
    assert process.wait(10) == 3


def test_what_children_say_comes_before_the_news_of_their_death() -> None:
    """Many at once: no error is lost because its sender was reaped first."""
    template = earlyfork.new().require("work").ready(10)
    for _ in range(5):
        started = [(process, process.run(work.fails_when_told)) for process in clones(template, 40)]
        for _, sock in started:
            sock.close()
        for process, _ in started:
            assert process.wait(20) == 1
            assert process.error is not None


def clones(template: earlyfork.Process, number: int) -> list[earlyfork.Process]:
    return [template.fork() for _ in range(number)]


def test_standbys_are_refilled_while_those_taken_live() -> None:
    template = earlyfork.new().require("work").ready(10)
    living = []

    def is_standby() -> bool:
        process = template.fork()
        known = process.known_pid() is not None
        living.append((process, process.run(work.hold)))
        assert living[-1][1].recv(1) == b"!"
        return known

    for _ in range(3):
        assert not is_standby() or not is_standby() or not is_standby()  # all that were there
        support.wait_until(is_standby)
    for process, sock in living:
        sock.close()
        assert process.wait(10) == 0


def test_output_that_is_lost_at_the_end_is_status_120() -> None:
    """Of any length: what a first flush loses must not look well to a second one."""
    for size in (10, 5000):
        process = earlyfork.new().require("work").send_arg(size)
        process.run(work.writes_to_nobody).close()
        assert process.wait(10) == 120


def test_a_socket_class_of_somebody_s_own(run_program: Run) -> None:
    """As gevent and its like have: no subclass of the stdlib's."""
    run_program("quick/own_socket_class.py")


def test_output_of_a_template_is_written_once(run_script: Run) -> None:
    done = run_script(
        """
        import earlyfork, work
        template = earlyfork.new().require("work").eval("print('once', end=' ')")
        for _ in range(6):
            assert work.got(template.fork().run(work.echo)) == ()
        template.close()
        """,
        env=support.with_work(),
    )
    assert done.stdout == "once "
