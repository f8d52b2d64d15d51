"""Processes over there are as those here: by the same handle, with the same ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import earlyfork
import support
from earlyfork import remote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Connect = Callable[..., earlyfork.Process]


def test_a_local_socket_and_an_exact_status(host: earlyfork.Process) -> None:
    process = host.fork().send_arg(1, {"a": [2.5, None]}, b"x" * 200_000)
    sock = process.run("remote_work.echo", linked=True)
    assert sock.family == socket.AF_UNIX
    sock.sendall(b"hello")
    sock.shutdown(socket.SHUT_WR)
    got = support.read_until_eof(sock.fileno())
    assert got.startswith(b"(1, {'a': [2.5, None]}, b'xxx")
    assert got.endswith(b"x')\nhello")
    assert process.wait(support.PATIENCE) == 0
    sock.close()


@pytest.mark.parametrize(
    ("how", "number", "status"),
    [("exit", 0, 0), ("exit", 7, 7), ("raise", 0, 1), ("kill", 9, -9), ("kill", 15, -15)],
)
def test_how_it_ends(host: earlyfork.Process, how: str, number: int, status: int) -> None:
    process = host.fork().send_arg(how, number)
    process.run("remote_work.die").close()
    assert process.wait(support.PATIENCE) == status
    assert (process.error is not None) == (how == "raise")
    if process.error is not None:
        assert process.error.type_name == "LookupError"
        assert "remote_work.py" in process.error.remote_traceback


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signals(host: earlyfork.Process, number: int) -> None:
    process = host.fork()
    with process.run("remote_work.wait") as sock:
        assert sock.recv(1) == b"!"
        process.send_signal(number)
        assert process.wait(support.PATIENCE) == -number
    process.send_signal(number)  # it is gone, which is no error


def test_a_signal_before_the_process_is_there(connect: Connect) -> None:
    process = connect().fork()
    process.run("remote_work.wait").close()
    process.kill()
    assert process.wait(support.PATIENCE) in (-9, 0)  # it may have seen the end of its socket


def test_errors_while_it_is_prepared(host: earlyfork.Process) -> None:
    process = host.fork().require("no_such_module")
    with pytest.raises(earlyfork.RemoteError, match="no_such_module"):
        process.ready(support.PATIENCE)
    assert process.wait(support.PATIENCE) == 1


def test_a_clone_of_a_clone(host: earlyfork.Process) -> None:
    prepared = host.fork().eval("value = 1")
    clones = [prepared.fork() for _ in range(3)]
    prepared.eval("value = 2")
    last = prepared.fork()
    for process, wanted in [*((clone, 1) for clone in clones), (last, 2)]:
        process.eval("import sys\ndef tell(sock):\n    sys.exit(10 + value)")
        process.run("tell").close()
        assert process.wait(support.PATIENCE) == 10 + wanted
    prepared.send_arg("exit", 3).run("remote_work.die").close()
    assert prepared.wait(support.PATIENCE) == 3


def test_the_template_is_told_in_order(host: earlyfork.Process) -> None:
    """A process that was forked ahead of need is not what its template is by now."""
    for number in range(20):
        host.eval(f"import sys\ndef tell(sock):\n    sys.exit({number})")
        process = host.fork()
        process.run("tell").close()
        assert process.wait(support.PATIENCE) == number


def test_commands(host: earlyfork.Process) -> None:
    process = host.fork().exec(["sh", "-c", "exit 5"], stdin=subprocess.DEVNULL)
    assert process.ready(support.PATIENCE).wait(support.PATIENCE) == 5
    with pytest.raises(FileNotFoundError, match="/no/such/file"):
        host.fork().exec(["/no/such/file"]).ready(support.PATIENCE)
    linked = host.fork().exec(["sleep", "1000"], linked=True).ready(support.PATIENCE)
    linked.terminate()
    assert linked.wait(support.PATIENCE) == -15


def test_what_they_print(run_program: support.Run) -> None:
    done = run_program("remote/prints.py")
    assert done.stdout == "hello\nend\n"
    assert "HELLO\n" in done.stderr


def test_on_stderr(connect: Connect) -> None:
    got: list[bytes] = []
    host = connect(["sh", "-c", 'echo command >&2; exec "$@"', "sh"], on_stderr=got.append)
    process = host.fork().send_arg("hello", 100_000)
    process.run("remote_work.prints").close()
    assert process.wait(support.PATIENCE) == 0
    support.wait_until(lambda: b"".join(got).count(b"-") == 100_000)
    assert b"".join(got).startswith(b"command\nHELLO\n")
    assert [thread.name for thread in threading.enumerate()].count("earlyfork-remote") == 1
    host.close()
    support.wait_until(lambda: len(threading.enumerate()) == 1)


def test_what_can_not_travel_is_refused_at_the_call(host: earlyfork.Process) -> None:
    process = host.fork()
    calls: list[Callable[[], object]] = [
        lambda: process.send_fh(sys.__stdout__),
        lambda: process.send_fh(1),
        lambda: process.exec(["true"], stdout=1),
        lambda: process.exec(["true"], pass_fds=(1, 5)),
        lambda: process.exec(["true"], cwd="/"),
        process.to_fh,
    ]
    for call in calls:
        with pytest.raises(earlyfork.ProcessStateError, match="another machine"):
            call()
    assert process.is_far
    assert not process.trusted
    process.send_arg("exit", 3).run("remote_work.die").close()
    assert process.wait(support.PATIENCE) == 3


def test_functions_of_the_main_program_are_refused(host: earlyfork.Process) -> None:
    def local(_sock: object) -> None:
        """Nobody finds this."""

    with pytest.raises(ValueError, match="local"):
        host.fork().run(local)


@pytest.mark.slow
def test_many_at_once(host: earlyfork.Process) -> None:
    """More than one forker has."""
    processes = [host.fork().send_arg(number) for number in range(150)]
    socks = [process.run("remote_work.echo") for process in processes]
    for number, sock in enumerate(socks):
        sock.shutdown(socket.SHUT_WR)
        assert support.read_until_eof(sock.fileno()) == f"({number},)\n".encode()
        sock.close()
    assert {process.wait(support.PATIENCE) for process in processes} == {0}


def test_one_channel_that_nobody_reads(host: earlyfork.Process) -> None:
    stuck = host.fork().send_arg(4 << 20)
    unread = stuck.run("remote_work.count")
    for _ in range(3):
        process = host.fork().send_arg(4 << 20)
        with process.run("remote_work.count") as sock:
            reader = threading.Thread(target=support.read_until_eof, args=(sock.fileno(),))
            reader.start()
            sock.sendall(b"y" * (4 << 20))
            sock.shutdown(socket.SHUT_WR)
            reader.join()
            assert process.wait(support.PATIENCE) == 0
    assert len(support.read_until_eof(unread.fileno())) == 4 << 20
    unread.sendall(b"y" * (4 << 20))
    unread.close()
    assert stuck.wait(support.PATIENCE) == 0


@pytest.mark.parametrize("both", [False, True], ids=["two fds", "one socket"])
def test_connect_fds(both: bool) -> None:
    if both:
        near, far = socket.socketpair()
        shell = subprocess.Popen(["sh"], stdin=far, stdout=far)
        files: list[object] = [near, near]
        mine: list[object] = [near, far]
    else:
        shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        files = mine = [shell.stdout, shell.stdin]
    host = remote.connect_fds(*files, python=[sys.executable, "-S"])
    for file in mine:
        file.close()  # type: ignore[attr-defined]
    with host:
        remote.ship(host, "remote_work")
        process = host.fork().send_arg("exit", 3)
        process.run("remote_work.die").close()
        assert process.wait(support.PATIENCE) == 3
    assert shell.wait(support.PATIENCE) == 0


def test_ship(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shipped"
    (folder / "inner").mkdir(parents=True)
    for name, text in {
        "__init__.py": "from shipped.inner import value",
        "inner/__init__.py": "from . import deep\nvalue = deep.value",
        "inner/deep.py": "value = 42\ndef fail(sock):\n    raise ValueError('deep')",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    host = connect(ships=False)
    with pytest.raises(earlyfork.RemoteError, match="shipped"):
        host.fork().require("shipped").ready(support.PATIENCE)
    assert remote.ship(host, "shipped") is host
    process = host.fork().eval("import shipped, sys\ndef tell(s): sys.exit(shipped.value)")
    process.run("tell").close()
    assert process.wait(support.PATIENCE) == 42
    process = host.fork()
    process.run("shipped.inner.deep:fail").close()
    with pytest.raises(earlyfork.RemoteError, match="raise ValueError"):
        process.wait(support.PATIENCE, check=True)
    assert "raise ValueError('deep')" in str(process.error)  # the line itself, without a file
    with pytest.raises(ModuleNotFoundError):
        remote.ship(host, "no_such_module")
    with pytest.raises(ValueError, match="no source"):
        remote.ship(host, "_socket")
    with pytest.raises(earlyfork.ProcessStateError, match="this machine"):
        remote.ship(earlyfork.new(), "shipped")


def test_a_pool_of_them(host: earlyfork.Process) -> None:
    from earlyfork.pool import Pool
    from earlyfork.rpc import WorkerDied

    with pytest.raises(ValueError, match="another machine"):
        Pool(host, max_memory=1 << 30)
    with Pool(host, max_workers=2) as pool:
        assert list(pool.map("remote_work.add", range(4), [1] * 4)) == [1, 2, 3, 4]
        with pytest.raises(ZeroDivisionError):
            pool.submit("operator.truediv", 1, 0).result(support.PATIENCE)
        with pytest.raises(WorkerDied, match="status 3"):
            pool.submit("os._exit", 3).result(support.PATIENCE)
        assert pool.submit("remote_work.add", 1, 2).result(support.PATIENCE) == 3


def test_from_there_to_a_third_place(host: earlyfork.Process) -> None:
    """Nothing of earlyfork is installed on the second machine, which sends it on to the third."""
    process = host.fork().send_arg(sys.executable)
    with process.run("remote_work.go_on", linked=True) as sock:
        assert support.read_until_eof(sock.fileno(), 30) == b"('from afar',)\n"
    assert process.wait(support.PATIENCE) == 3
