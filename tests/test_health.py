"""What a snapshot inherits that may hurt is named, with advice; and siblings differ at random."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

import support

if TYPE_CHECKING:
    from support import Run


#: Name: (what the main program does before the snapshot, what is told, what is advised).
HURTS = {
    "connected socket": (
        "import socket; a, b = socket.socketpair()",
        ["{a.fileno()} (socket)", "{b.fileno()} (socket)"],
        "connect in each process",
    ),
    "pipe": ("a, b = os.pipe()", ["{a} (pipe)", "{b} (pipe)"], "keep_fds="),
    "event loop": (
        "import asyncio; a = asyncio.new_event_loop()",
        ["{a._selector.fileno()} (eventpoll)"],
        "make the loop in each process",
    ),
    "sqlite": (
        "import sqlite3; a = sqlite3.connect('x.db'); a.execute('create table t (n)'); a.commit()",
        ["SQLite database {os.path.abspath('x.db')}"],
        "open it in each process",
    ),
    "sqlite in WAL mode": (
        (
            "import sqlite3; a = sqlite3.connect('x.db'); a.execute('pragma journal_mode=wal');"
            "a.execute('create table t (n)')"
        ),
        ["{os.path.abspath('x.db')}-wal"],
        "open it in each process",
    ),
    "lmdb": (
        "a = open('data.mdb', 'wb')",
        ["LMDB database {a.name and os.path.abspath(a.name)}"],
        "",
    ),
    "flock": (
        "import fcntl; a = open('it', 'w'); fcntl.flock(a, fcntl.LOCK_EX)",
        ["fd {a.fileno()}: a lock (flock) on {os.path.abspath('it')}"],
        "take it after the snapshot",
    ),
    "flock of a directory": (
        "import fcntl; a = os.open('.', os.O_RDONLY); fcntl.flock(a, fcntl.LOCK_SH)",
        ["fd {a}: a lock (flock) on {os.getcwd()}"],
        "take it after the snapshot",
    ),
    "lock of an open file": (
        (
            "import fcntl, struct; a = open('it', 'w');"
            "fcntl.fcntl(a, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 1, 0))"  # F_OFD_SETLK
        ),
        ["fd {a.fileno()}: a lock (flock)"],
        "take it after the snapshot",
    ),
    "lockf": (
        "import fcntl; a = open('it', 'w'); fcntl.lockf(a, fcntl.LOCK_EX)",
        ["fd {a.fileno()}: a lock (fcntl, lockf) on {os.path.abspath('it')}"],
        "take it in the process that needs it",
    ),
    "module": (
        "sys.modules['polars'] = type(sys)('polars')",
        ["module polars has read POLARS_MAX_THREADS"],
        "import polars in the process",
    ),
    "torch on a GPU": (
        (
            "import types; sys.modules['torch'] = types.SimpleNamespace("
            "cuda=types.SimpleNamespace(is_initialized=lambda: True))"
        ),
        ["torch.cuda is initialised"],
        "before the first use of the GPU",
    ),
    "a GPU's device": (
        # There is none here: /dev/null stands for it.
        "from earlyfork._origin import health; health.GPUS = ('/dev/null',); a = open('/dev/null')",
        ["fd {a.fileno()}: /dev/null: a GPU"],
        "before the first use of the GPU",
    ),
    "libcuda": (
        # Not the real one: any library that is loaded by this name.
        "import _ctypes, ctypes, shutil; ctypes.CDLL(shutil.copy(_ctypes.__file__, os.path.abspath('libcuda.so.1')))",
        ["libcuda is loaded"],
        "take the snapshot before it",
    ),
    "native thread": (
        (
            "import ctypes; c = ctypes.CDLL(None); t = ctypes.c_void_p();"
            "c.pthread_create(ctypes.byref(t), None, ctypes.cast(c.pause, ctypes.c_void_p), None);"
            "import warnings; warnings.simplefilter('ignore')"
        ),
        ["threads: native ("],
        "after the fork only",
    ),
}
HARMLESS = {
    "nothing": "",
    "a file, a device, a directory": "a = open('plain', 'w+'); b = open('/dev/zero');"
    "c = os.open('.', os.O_RDONLY)",
    "a lock that was given up": "import fcntl; a = open('it', 'w'); fcntl.flock(a, fcntl.LOCK_EX);"
    "fcntl.flock(a, fcntl.LOCK_UN)",
    "a listening socket": "import socket; a = socket.create_server(('127.0.0.1', 0))",
    "earlyfork's own": "p = earlyfork.new().send_fh(0); q = earlyfork.new(); r = q.run('work.hold');"
    "q.sentinel; t = earlyfork.new().ready(10); u = t.fork(); v = u.fork(); r.detach()",
}


@pytest.mark.parametrize("name", HURTS)
def test_what_may_hurt_is_named(run_script: Run, name: str) -> None:
    setup, told, advised = HURTS[name]
    expected = ", ".join("f" + repr(each) for each in told)
    run_script(
        f"""
        import earlyfork
        import os, sys
        {setup}
        from earlyfork.template import snapshot
        before = earlyfork.status().inherited
        template = snapshot()
        new = [line for line in earlyfork.status().inherited if line not in before]
        page = str(earlyfork.status())
        for text in [*before, *new]:
            assert text in page
        for text in ({expected},):
            assert any(text in line and {advised!r} in line for line in before), (text, before)
        """,
        check=True,
        env=support.with_work(),
    )


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_not_named(run_script: Run, name: str) -> None:
    own = "r.detach()" in HARMLESS[name]
    run_script(
        f"""
        import earlyfork
        import os, sys
        {HARMLESS[name]}
        from earlyfork.template import TEMPLATE
        told = [line for line in earlyfork.status().inherited if "threads" not in line]
        if {own}:  # the socket that run() gave is the user's
            assert len(told) == 1 and told[0].count("(") - told[0].count("()") == 1, told
        else:
            assert told == [], told
        """,
        check=True,
        env=support.with_work(),
    )


def test_what_is_kept_on_purpose_is_not_named(run_script: Run) -> None:
    run_script(
        """
        import earlyfork
        import os, socket
        a, b = os.pipe()
        c, d = socket.socketpair()
        from earlyfork import template
        first = earlyfork.status().inherited
        assert len(first) == 1, first
        template.snapshot(keep_fds=[a, b, c.fileno(), d.fileno()])
        assert earlyfork.status().inherited == first
        """,
        check=True,
        env=support.with_work(),
    )


needs_numpy = pytest.mark.skipif(
    importlib.util.find_spec("numpy") is None, reason="numpy is not installed"
)


@needs_numpy
def test_siblings_differ_at_random(run_program: Run) -> None:
    """The standard library's generators and numpy's, from each kind of template."""
    run_program("health/siblings_draw.py")


@needs_numpy
def test_a_generator_object_that_was_made_before_is_shared_by_siblings(run_script: Run) -> None:
    """Only its owner knows of it: the page on reliability says to make it in the process."""
    run_script(
        """
        import earlyfork
        import work
        prepared = earlyfork.new().eval(
            "import numpy, random, work\\nmine = numpy.random.default_rng()\\n"
            "his = random.Random()\\n"
            "def draw(sock): work.give(sock, (mine.random(), his.random()))"
        )
        one, two = (work.got(prepared.fork().run("draw")) for _ in range(2))
        assert one == two
        """,
        check=True,
        env=support.with_work(),
    )
