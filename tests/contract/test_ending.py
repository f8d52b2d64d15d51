"""SEMANTICS, "Running": how a process ends, with its status, its error and its output."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], earlyfork.Process]


@pytest.mark.parametrize(
    ("function", "args", "status"),
    [
        (work.returns, (), 0),
        (work.exit_with, (None,), 0),
        (work.exit_with, (0,), 0),
        (work.exit_with, (3,), 3),
        (work.exit_with, (256 + 5,), 5),
        (work.exit_with, (-1,), 255),
        (work.exit_with, ("a message",), 1),
        (work.os_exit, (113,), 113),
        (work.fails, (), 1),
        (work.die_by, (signal.SIGKILL,), -signal.SIGKILL),
        (work.die_by, (signal.SIGTERM,), -signal.SIGTERM),
        (work.die_by, (signal.SIGINT,), -signal.SIGINT),
    ],
)
def test_exit_statuses_are_exact(
    make: Make, function: Callable[..., None], args: tuple[object, ...], status: int
) -> None:
    process = make().send_arg(*args)
    process.run(function).close()
    assert process.wait(10) == status
    assert process.poll() == process.returncode == status


def test_an_exception_reaches_the_caller(make: Make) -> None:
    process = make().send_arg("told so")
    process.run(work.fails).close()
    assert process.wait(10) == 1
    assert process.error is not None
    assert process.error.type_name == "LookupError"
    assert "told so" in str(process.error)
    assert re.search(r'work.py", line \d+, in fails', process.error.remote_traceback)
    assert "earlyfork" not in process.error.remote_traceback


def test_exit_runs_what_the_function_registered(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    process = make().send_arg(str(path))
    process.run(work.registers).close()
    assert process.wait(10) == 0
    assert path.read_text().split() == ["returns", "thread", "atexit"]


def test_what_the_template_registered_is_not_run(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    template = make().eval(
        "import atexit; atexit.register(lambda path=args[0]: open(path, 'a').write('ran'))",
        str(path),
    )
    process = template.fork()
    process.run(work.returns).close()
    assert process.wait(10) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("function", "argument", "text"),
    [
        (work.os_exit, 3, "ended with status 3"),
        (work.die_by, signal.SIGKILL, "was ended by SIGKILL"),
        (work.die_by, signal.SIGRTMIN + 1, f"was ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_check_raises_for_a_status_without_an_error(
    make: Make, function: Callable[..., None], argument: int, text: str
) -> None:
    process = make().send_arg(argument)
    process.run(function).close()
    with pytest.raises(earlyfork.RemoteError, match=text) as caught:
        process.wait(10, check=True)
    assert caught.value.remote_traceback == ""
    assert str(caught.value).endswith(text)


def test_output_that_cannot_be_written_is_status_120(make: Make) -> None:
    """As of any Python program."""
    process = make().eval(
        "import os, sys\n"
        "def f(sock):\n"
        "    os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "    sys.stdout = open(1, 'w', closefd=False)\n"
        "    sys.stdout.write('lost')"
    )
    process.run("f").close()
    assert process.wait(10) == 120


STREAMS = {
    "detached": ("sys.kept = sys.stdout.detach()", 120),
    "closed": ("sys.stdout.close()", 0),
    "none": ("sys.stdout = None", 0),
    "a tee that knows no more than it needs": (
        (
            "class Tee:\n"
            "        def write(self, text): return len(text)\n"
            "        def flush(self): pass\n"
            "    sys.stdout = Tee()"
        ),
        0,
    ),
    "one that can't be flushed": ("sys.stdout = object()", 120),
    "one whose flush takes it away": (
        (
            "class Raw(io.RawIOBase):\n"
            "        def writable(self): return True\n"
            "        def write(self, data): return len(data)\n"
            "        def flush(self):\n"
            "            if sys.stdout is not sys.__stdout__ and sys.stdout is not None:\n"
            "                sys.stdout = None\n"
            "                kept.extend(bytearray(200) for _ in range(2000))\n"
            "                raise ValueError('on purpose')\n"
            "    sys.stdout = io.TextIOWrapper(Raw())"
        ),
        120,
    ),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_whatever_stands_for_stdout_at_the_end(make: Make, stream: str) -> None:
    """It has no more to say than whether what was written is lost."""
    change, status = STREAMS[stream]
    process = make().eval(f"import io, sys\nkept = []\ndef f(sock):\n    {change}")
    process.run("f").close()
    assert (process.wait(10), process.error) == (status, None)


@pytest.mark.parametrize(
    "loss",
    ["sys.stderr = None", "sys.stderr.close()", "sys.stderr = None; os.close(2)"],
)
def test_an_error_without_a_stderr_reaches_the_caller(make: Make, loss: str) -> None:
    process = make().eval(f"import os, sys; {loss}; raise LookupError('told')")
    assert process.wait(10) == 1
    assert process.error is not None
    assert process.error.args[0] == "LookupError: told"


def test_an_excepthook_of_the_user_is_obeyed(make: Make, tmp_path: Path) -> None:
    process = make().eval(
        "import sys\n"
        "def hook(kind, error, tb): open(path, 'w').write(f'{kind.__name__} {error}')\n"
        "path, = args; sys.excepthook = hook",
        str(tmp_path / "hooked"),
    )
    process.run(work.fails).close()
    assert process.wait(10) == 1
    assert (tmp_path / "hooked").read_text() == "LookupError as told"
    assert process.error is not None


def test_ctrl_c_while_threads_are_joined(make: Make) -> None:
    """The function has returned, a thread of it works on: that is interrupted, as in a script."""
    process = make()
    with process.run(work.lingers) as sock:
        assert sock.recv(1) == b"!"
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(2) == 0
                break
            except TimeoutError:  # it came just before the wait that it should have interrupted
                continue
    if sys.version_info < (3, 13):  # from there on the interpreter itself sees to the interrupt
        assert process.error is not None
        assert process.error.type_name == "KeyboardInterrupt"
