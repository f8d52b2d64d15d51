"""`socket` in a launched interpreter: loaded when somebody needs it, and nobody can tell."""

from __future__ import annotations

import _socket
import socket
from typing import TYPE_CHECKING

import pytest

import support
from earlyfork._child import late_socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import Run

    RunThere = Callable[..., list[str]]

#: A main program whose processes are fresh interpreters. No .pth file of the machine loads anything
#: there, since `site` is left out.
HEAD = """
import os; os.environ["EARLYFORK"] = "0"
import earlyfork, socket, sys

def run(source, make=earlyfork.new_exec):
    p = make().eval(source)
    sock = p.run("f")
    assert p.wait(20) == 0
    sock.close()
    p.close()
"""


@pytest.fixture
def run_there(run_script: Run) -> RunThere:
    """Runs `f(sock)` of a text in a fresh interpreter; the lines that were printed."""

    def run(source: str, rest: str = "") -> list[str]:
        program = f"{HEAD}\nrun({source!r})\n{rest}"
        done = run_script(program, flags=("-S",), env=support.with_work())
        return support.output_of(done).splitlines()

    return run


def test_it_is_not_loaded_before_it_is_needed(run_there: RunThere) -> None:
    lines = run_there(
        """
import sys
def f(s):
    s.send(b"x")
    s.settimeout(10)
    print(s.fileno() > 2, s.proto, s.timeout)
    with s:
        s.close()
    print(s.fileno(), s.detach(), "socket" in sys.modules, "enum" in sys.modules)
"""
    )
    assert lines == ["True 0 10.0", "-1 -1 False False"]


#: Each is the first thing that is done to the socket, and must give what it gives anywhere.
USES = [
    "s.family",
    "s.type",
    "s.proto",
    "s.close()",
    "s.detach() > 2",
    "s.dup().close()",
    "s.makefile('rb').closed",
    "s.get_inheritable()",
    "s.set_inheritable(False)",
    "s.__enter__() is s",
    "s.__exit__()",
    "s.accept.__qualname__",
    "s.sendfile.__qualname__",
    "s.nonsense",
    "s.__reduce_ex__(2)",
    "[name for name in dir(s)]",
    "repr(s).partition('fd=')[::2][1].partition(',')[2]",
    "type(s)().type",
    "type(s)(fileno=s.detach()).family",
    "[type(s).__name__, type(s).__module__, type(s).__qualname__]",
    "isinstance(s, __import__('socket').socket)",
    "__import__('socket').socket is type(s)",
    "__import__('copy').copy(s)",
    "__import__('socket').socket(s.family, s.type, 0, s.detach()).type",
]
USE = """
def answer(s):
    try:
        return repr({use})
    except Exception as error:
        return repr(error)
def f(s):
    print(answer(s))
    import socket, sys
    print(type(s) is socket.socket, isinstance(s, socket.socket), s._closed in (True, False))
    print(sorted(vars(socket.socket)) == sorted(full), "__getattr__" in vars(socket))
"""


@pytest.mark.parametrize("use", USES)
def test_whatever_is_done_first_gives_what_it_gives_anywhere(use: str, run_there: RunThere) -> None:
    source = f"full = {sorted(vars(socket.socket))!r}\n" + USE.format(use=use)
    rest = f"""
a, b = socket.socketpair()
space = {{}}
exec({source!r}, space)
space["f"](a)
a.close(); b.close()
"""
    lines = run_there(source, rest)
    assert lines[:3] == lines[3:]
    assert lines[1:3] == ["True True True", "True False"]


def test_no_name_that_differs_is_forgotten() -> None:
    # Looked up on an object, what C does not have is found by __getattr__.
    for name, value in vars(socket.socket).items():
        if name in ("__doc__", "__module__", "__slots__", "__firstlineno__", "__weakref__"):
            continue
        special = name.startswith("__") and name.endswith("__") and callable(value)
        if special or hasattr(_socket.socket, name):
            assert name in vars(late_socket.EarlySocket), name
    assert set(late_socket.EarlySocket.__slots__) == set(socket.socket.__slots__)
    assert socket.socket.__base__ is late_socket.EarlySocket.__base__ is _socket.socket


def test_threads_that_import_it_at_once_all_find_it_whole(
    run_there: RunThere,
) -> None:
    lines = run_there(support.program("later/threads.py"))
    assert lines == ["20 True"]


def test_when_it_cant_be_loaded_who_asks_again_may_fare_better(
    run_there: RunThere,
) -> None:
    lines = run_there(
        """
def f(s):
    import resource, sys
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    for use in ("import socket", "from socket import AF_UNIX", "s.family", "s.makefile"):
        try:
            exec(use, {"s": s})
        except OSError as error:
            print(error.strerror)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    import socket
    print(type(s) is socket.socket, s.family == socket.AF_UNIX)
"""
    )
    assert lines == ["Too many open files"] * 4 + ["True True"]


def test_where_it_cant_be_found_any_more_the_error_says_what_to_do(
    run_there: RunThere,
) -> None:
    lines = run_there(
        """
def f(s):
    import sys
    sys.path.clear()  # as after chroot
    for use in ("import socket", "from socket import AF_UNIX", "s.family", "s.makefile"):
        try:
            exec(use, {"s": s})
        except ModuleNotFoundError as error:
            print(error.name, "must import it before" in str(error))
    s.close()
"""
    )
    assert lines == ["socket False"] * 2 + ["socket True"] * 2


def test_a_module_of_the_users_that_is_named_so_is_left_alone(
    run_there: RunThere, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "socket.py").write_text("VALUE = 1\nsocket = 'not a class'\n")
    lines = run_there(
        f"""
def f(s):
    import sys
    sys.path.insert(0, {str(folder)!r})
    import socket
    print(socket.VALUE, socket.socket, socket.__loader__.__class__.__name__, s.send(b"x"))
    try:
        s.makefile
    except AttributeError as error:
        print(error)
"""
    )
    assert lines[0] == "1 not a class SourceFileLoader 1"
    assert lines[1] == "'socket' object has no attribute 'makefile'"


def test_a_subclass_made_before_is_one_after(run_there: RunThere) -> None:
    lines = run_there(
        """
def f(s):
    class Mine(type(s)):
        family = property(lambda self: ("mine", super().family))
        def __repr__(self):
            return "mine"
    mine = Mine(fileno=s.detach())
    print(mine, mine.family[0], int(mine.family[1]))
    import socket
    print(mine, isinstance(mine, socket.socket), mine.makefile("rb").closed)
"""
    )
    assert lines == ["mine mine 1", "mine True False"]


#: Has a signal arrive when `socket` is half loaded.
SIGNALLED = """
import signal, sys
def in_the_middle(handler):
    class Finder:
        def find_spec(name, path, target=None):
            if name in ("selectors", "array"):  # from 3.14 on it does without selectors at first
                sys.meta_path.remove(Finder)
                signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handler)
    sys.meta_path.insert(0, Finder)
"""


def test_an_exception_of_a_signal_handler_comes_out_of_the_import(
    run_there: RunThere,
) -> None:
    lines = run_there(
        SIGNALLED
        + """
def f(s):
    def handler(*_):
        sys.exit("told to end")
    in_the_middle(handler)
    try:
        import socket
    except SystemExit as error:
        print(error)
    import socket
    print(type(s) is socket.socket, s.family == socket.AF_UNIX)
"""
    )
    assert lines == ["told to end", "True True"]


def test_to_put_the_halves_together_may_be_interrupted_anywhere(
    run_there: RunThere,
) -> None:
    lines = run_there(
        """
import _thread
from programs.later.steps import steps
def f(s):
    def look():
        import socket
        return s.family == socket.AF_UNIX, s.makefile("rb").closed, repr(s)[:14]
    for function, by in (("_fill", 9), ("exec_module", 1)):
        said = [*steps(function, _thread.interrupt_main, look, by)]
        print(len(said) > 2, set(said))
"""
    )
    assert lines == ["True {\"(True, False, '<socket.socket')\"}"] * 2


def test_who_uses_the_socket_meanwhile_finds_either_half(
    run_there: RunThere,
) -> None:
    lines = run_there(
        """
from programs.later.steps import steps
def f(s):
    found = []
    def use():
        s.close, s.detach, s.recv, s.fileno()
        found.append(s.family == 1)
        with s:
            pass
    def look():
        return found, s.fileno()
    said = [*steps("_fill", use, look, 9)]
    print(len(said) > 10, set(said))
"""
    )
    assert lines == ["True {'([True], -1)'}"]


def test_a_signal_handler_in_the_middle_of_the_loading_gets_the_half_in_c(
    run_there: RunThere,
) -> None:
    lines = run_there(
        SIGNALLED
        + """
def f(s):
    def handler(*_):
        # One that asks for more than there is gets an error, and not a socket that is half done.
        for name in ("family", "makefile"):
            try:
                print(getattr(s, name))
            except AttributeError as error:
                print("no", error)
        print(s.send(b"x"))
    in_the_middle(handler)
    import socket
    print(type(s) is socket.socket, s.family == socket.AF_UNIX, s.makefile("rb").closed)
"""
    )
    assert lines == [
        "1",
        "no 'socket' object has no attribute 'makefile'",
        "1",
        "True True False",
    ]


def test_a_process_that_is_cloned_loads_it_for_its_clones(
    run_there: RunThere,
) -> None:
    look = """
import sys
def f(s):
    print("enum" in sys.modules)
"""
    rest = f"""
run({look!r}, earlyfork.new)  # that template stays
template = earlyfork.new_exec()
run({look!r}, template.fork)
"""
    assert run_there(look, rest) == ["False", "True", "True"]
