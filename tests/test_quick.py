"""The hot path in C: it is there where it should be, knows the protocol, and can be left out."""

from __future__ import annotations

import fcntl
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
from earlyfork import _context
from earlyfork._child import guard, quick_loop
from earlyfork._child.here import Here
from earlyfork._owner import own
from earlyfork._shared import payloads, wire
from earlyfork._shared import quick as part

if TYPE_CHECKING:
    from typing import Any

    from support import Run

HEADER = Path(__file__).parent.parent / "src" / "quick" / "quick.h"
BUILT = pytest.mark.skipif(part.quick is None, reason="the part in C was not built here")
quick = part.quick


def test_it_was_built_where_there_is_a_compiler() -> None:
    if not sys.platform.startswith("linux") or os.environ.get("EARLYFORK_PURE"):
        pytest.skip("it is made for Linux, and can be left out by EARLYFORK_PURE")
    command = ["cc", "-fsyntax-only", "-x", "c", "-"]
    env = {"CPATH": sysconfig.get_path("include")}
    compiled = support.run_command(command, env=env, stdin_text="#include <Python.h>")
    if compiled.returncode:
        pytest.skip(f"no compiler for it: {compiled.stderr[:100]}")
    assert part.quick is not None


def test_the_numbers_in_c_are_those_of_the_protocol() -> None:
    text = HEADER.read_text(encoding="utf-8")
    known = dict(re.findall(r"\b([A-Z_]+) = (\d+)\b", text.partition("/* What happened")[0]))
    assert known.pop("PAD") == str(wire.PAD)
    assert known.pop("HEAD") == str(wire.HEAD.size)
    assert known.pop("FRAME") == str(wire.FRAME.size)
    assert known.pop("UP_HEAD") == str(payloads.UP_HEAD.size)
    assert int(known.pop("LARGE")) < wire.BULK_FROM
    assert len(known) >= 6
    assert "MAX_FDS" in known
    assert known == {name: str(getattr(wire, name)) for name in known}


def test_the_letters_in_c_are_those_of_the_protocol() -> None:
    letters = dict(re.findall(r"\b([A-Z_]+) = '(.)'", HEADER.read_text(encoding="utf-8")))
    links = (payloads.UNLINKED, payloads.LINKED, payloads.SECOND_LINE)
    names = ("UNLINKED", "LINKED", "SECOND_LINE")
    wanted = {name: link.decode() for name, link in zip(names, links, strict=True)}
    for name, link in zip(names, links, strict=True):
        wanted[f"{name}_ALONE"] = chr(payloads.pack_run("", link, alone=True)[0])
    streams = {"KEEP": payloads.KEEP, "NULL_FILE": payloads.NULL, "NEXT_FD": payloads.NEXT_FD}
    assert letters == wanted | {name: chr(letter) for name, letter in streams.items()}
    said = re.search(r'define EXECUTES "(.)"', HEADER.read_text(encoding="utf-8"))
    assert said is not None
    assert said[1].encode() == wire.EXECUTES


def test_every_unit_is_built() -> None:
    """A library that lacks one would be imported all the same, and fail at its first call."""
    text = (HEADER.parent.parent.parent / "setup.py").read_text(encoding="utf-8")
    named = re.findall(r'"src/quick/(\w+\.c)"', text)
    assert sorted(named) == sorted(path.name for path in HEADER.parent.glob("*.c"))


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
        from earlyfork._shared import quick as part
        part.quick.__file__ = "/nowhere/_quick.another-build.so"
        print(work.got(earlyfork.new().run(work.what_serves)))
        part.quick.__file__ = "/nowhere/_quick" + __import__("_imp").extension_suffixes()[0]
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
        queue, nothing, near, status = (quick.own_class()() for _ in range(4))
        queue.make(os.dup, ours.fileno())

        def take() -> object:
            return quick.take(comm.fileno(), nothing, queue, near, status)

        assert take() is None
        with Path(os.devnull).open() as one, Path(os.devnull).open() as two:
            fds = [one.fileno(), two.fileno()]
            socket.send_fds(theirs, [(7).to_bytes(4, "big") + (1234).to_bytes(4, "big")], fds)
            socket.send_fds(theirs, [b"short"], fds)
            socket.send_fds(theirs, [b"12345678"], fds[:1])
        assert take() == (7, 1234)
        for own in (near, status):
            assert not os.get_inheritable(own.fd)
            own.close()
        assert take() == -1
        assert take() == -1
        theirs.close()
        assert take() == 0
        with Path(os.devnull).open() as other:  # takes its number
            os.dup2(other.fileno(), queue.fd)
        assert take() == -3
        os.close(queue.fd)
        far_comm.close()
        assert take() == -2
    with pytest.raises(TypeError):
        quick.take("comm", nothing, "queue", near, status)


@BUILT
def test_the_same_place() -> None:
    root, cwd = map(_context.directory_identity, "/.")
    stdio = _context.stdio_identity()
    assert quick.same_place(root, cwd, stdio)
    assert not quick.same_place(root, None, stdio)
    assert not quick.same_place(cwd, cwd, stdio)
    assert cwd is not None
    assert not quick.same_place(root, (cwd[0], cwd[1] + 1), stdio)
    assert not quick.same_place(root, cwd, (stdio[0], stdio[1], (1, 2, 3)))
    assert not quick.same_place(root, cwd, (stdio[0], None, stdio[2]))
    with pytest.raises(TypeError):
        quick.same_place(root, (cwd[0], "inode"), stdio)


@BUILT
def test_the_identity_of_a_file() -> None:
    with Path(os.devnull).open() as file:
        assert quick.identity(file.fileno()) == own._identity(file.fileno()) != 0
        again = os.dup(file.fileno())
        assert quick.identity(again) == quick.identity(file.fileno()) != quick.identity(1)
        os.close(again)
    assert quick.identity(12345) == own._identity(12345) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has F_SETSIG")
@pytest.mark.parametrize("part", [pytest.param(quick, marks=BUILT), None], ids=["C", "Python"])
def test_a_socket_to_fall_with_stays_what_it_was(
    part: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "quick", part)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for blocking in (True, False):
            ours.setblocking(blocking)
            before = fcntl.fcntl(ours, fcntl.F_GETFL)
            try:
                guard.fall_with(ours.fileno())
                after = fcntl.fcntl(ours, fcntl.F_GETFL)
            finally:  # or this very process would be killed when the other end is closed
                fcntl.fcntl(ours, fcntl.F_SETFL, before)
            assert after == before | os.O_ASYNC


@BUILT
def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        quick.serve(raise_it)
    with pytest.raises(TypeError):
        quick.serve(lambda _: (1, 2), None)  # neither what the loop needs nor what can be run
    with pytest.raises(TypeError):
        quick.know(1)
    with pytest.raises(TypeError):
        quick.listen("nowhere")


def raise_it(said: BaseException) -> None:
    """Be `step` for a loop that can't do what it shall: that is told, not lost."""
    raise said


def know(here: object, loop_state: type) -> None:
    text, file = quick_loop._io.TextIOWrapper, quick_loop._io._IOBase
    functions = (quick_loop.resolve, int, list, repr)
    quick.know(here, *functions, text, file, repr, repr, repr, repr, {}, loop_state)


@BUILT
@pytest.mark.parametrize("name", quick_loop.LoopState.__slots__)
def test_each_slot_of_the_loop_is_known_by_its_name_when_it_is_loaded(name: str) -> None:
    """A slot that one side has and the other has not, or spells in another way, is seen at once."""
    others = [other for other in quick_loop.LoopState.__slots__ if other != name]
    with pytest.raises(AttributeError, match=f"'{name}'"):
        know(quick_loop.here, type("Lacking", (), {"__slots__": others}))
    with pytest.raises(TypeError, match=f"^{name} is no slot"):
        know(quick_loop.here, type("NoSlot", (), {"__slots__": others, name: 1}))


@BUILT
@pytest.mark.parametrize(
    "name",
    [
        *("up", "forker", "spoke", "lifeline", "kind", "doing", "pending", "line", "job"),
        "files",
    ],
)
def test_each_slot_of_a_process_is_known_by_its_name_when_it_is_loaded(name: str) -> None:
    others = [other for other in Here.__slots__ if other != name]
    with pytest.raises(AttributeError, match=f"'{name}'"):
        know(type("Lacking", (), {"__slots__": others})(), quick_loop.LoopState)


@BUILT
@pytest.mark.parametrize("name", sorted({*quick_loop.LoopState.__slots__} - {"what"}))
def test_what_the_loop_is_given_must_be_all_there(name: str) -> None:
    state = filled()
    delattr(state, name)
    with pytest.raises(AttributeError, match=f"^{name} of the loop was not set"):
        quick.serve(raise_it, state)


@BUILT
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("comm", "0"), ("comm", 1 << 31), ("comm", 1 << 64), ("refill_at", "soon")),
        *(
            ("status", []),
            ("ups", []),
            ("ends", None),
            ("waiting", {}),
            ("others", []),
            ("watched", ()),
            ("said", []),
            ("held", []),
        ),
        *(("births", None), ("rights", "text"), ("fork_batch", "text"), ("fork_batch", b"short")),
    ],
)
def test_what_the_loop_is_given_must_be_what_it_can_use(name: str, value: object) -> None:
    state = filled()
    setattr(state, name, value)
    with pytest.raises((TypeError, OverflowError)):
        quick.serve(raise_it, state)


def filled() -> Any:
    """What the loop could be given; it must not be given to it as it is."""
    state: Any = quick_loop.LoopState.__new__(quick_loop.LoopState)
    for name in quick_loop.LoopState.__slots__:
        setattr(state, name, 0)
    state.status, state.ups, state.ends = {}, {}, {}
    state.waiting, state.fork_batch, state.rights = set(), bytes(wire.PAD), b""
    state.said, state.held, state.watched = {}, {}, {}
    state.others = state.births = ()
    state.socket_class = socket.socket
    return state


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
        known = process._watch.known_pid() is not None
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
