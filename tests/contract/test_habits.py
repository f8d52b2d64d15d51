"""What a template is told of its clones' habits: it makes them faster, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
from support import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], earlyfork.Process]

#: Obeys what a standby rehearses, with all that can be seen of a process before and after.
REHEARSES = """
import os, signal, sys
import __main__
from earlyfork._child import habits, here

def seen():
    fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in range(40)
           if os.path.lexists(f"/proc/self/fd/{fd}")}
    return (sorted(sys.modules), sorted(vars(__main__)), fds, signal.getsignal(signal.SIGIO),
            list(sys.meta_path), list(sys.path))

server = sys._getframe(1).f_locals["server"]
before = after = None
looked = []
habits.pair = lambda kind: looked.append(kind) or pair(kind)
pair = __import__("earlyfork._shared.sockets", fromlist=["pair"]).pair
before = seen()
habits.prepare(server)
after = seen()
assert before == after, [(a, b) for a, b in zip(before, after) if a != b]
"""
FINDER = """
import sys
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        names.append(name)
names = []
sys.meta_path.insert(0, Finder)
"""


def test_a_rehearsal_leaves_no_trace(make: Make) -> None:
    process = make().eval(REHEARSES + "assert looked, 'nothing was rehearsed'")
    assert work.got(process.require("work").run(work.echo)) == ()
    assert process.wait(10) == 0


def test_no_finder_of_the_program_sees_it(make: Make) -> None:
    process = (
        make()
        .require("signal")
        .eval(FINDER + REHEARSES + "assert not looked and not {*names} & {*habits.MODULES}")
    )
    assert work.got(process.require("work").run(work.echo)) == ()


def habits_of(process: earlyfork.Process) -> str:
    """What the process would have its standbys do, as the template that it came from has it."""
    code = (
        "from earlyfork._child.here import here\n"
        "def tells(sock):\n"
        "    sock.sendall(repr(here.also).encode())\n"
    )
    with process.eval(code).run("tells") as sock, sock.makefile() as file:
        return file.read()


@pytest.mark.parametrize("prepare", ["require", "eval", "call"])
def test_a_template_is_told_what_its_clones_do(prepare: str) -> None:
    template = earlyfork.new()
    name = {"require": "work", "eval": "pass", "call": "os.getpid"}[prepare]
    assert work.got(template.fork().run(work.echo)) == ()
    assert "prepare" not in habits_of(template.fork())  # the first one that does so
    for _ in range(4):
        process = template.fork()
        getattr(process, prepare)(name)
        assert work.got(process.run(work.echo)) == ()
    assert "prepare" in habits_of(template.fork())
    # What is forked off a clone has habits of its own.
    other = template.fork()
    work.got(other.fork().run(work.echo))
    assert habits_of(other) == "None"


def test_a_root_template_has_the_directories_listed() -> None:
    """Of the modules that a process imports, the places are known."""
    code = (
        "import os, sys\n"
        "def lists(sock):\n"
        "    cold = [finder.path for finder in sys.path_importer_cache.values()\n"
        "            if getattr(finder, '_path_mtime', 0) == -1 and os.path.isdir(finder.path)]\n"
        "    missing = [name for name in sys.path if name not in sys.path_importer_cache]\n"
        "    sock.sendall(repr(cold + missing).encode())\n"
    )

    def listed() -> bool:
        with earlyfork.new().eval(code).run("lists") as sock, sock.makefile() as file:
            return file.read() == "[]"

    wait_until(listed)


def test_a_clone_of_a_crowded_template_has_its_habits() -> None:
    template = earlyfork.new().require("work")
    template.eval("import sys; sys._getframe(1).f_locals['server'].kids.crowd = 2")
    held = []
    for number in range(8):
        process = template.fork().eval("pass").send_arg(range(number))
        held.append(process.run(work.hold))
        assert held[-1].recv(1)
    assert "prepare" in habits_of(template.fork())
    for sock in held:
        sock.close()
