"""SEMANTICS, "Preparing": what is sent takes effect there, in order, or is refused here."""

from __future__ import annotations

import array
import contextlib
import io
import multiprocessing
import os
import pickle
import selectors
import socket
import ssl
import types
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
from earlyfork._shared import payloads, wire
from support import eof_within, gone_within, readable_within, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], earlyfork.Process]


def test_values_arrive_in_order_and_as_they_were(make: Make) -> None:
    values = (b"\0\xff", "text \udc80 ☃", "", 7, None, {"a": [1, (2,)]}, b"x" * 300_000, 1.5)
    process = make().send_arg(*values[:3]).send_arg(*values[3:])
    assert work.got(process.run(work.echo)) == values
    assert process.wait(10) == 0


def test_methods_return_the_process(make: Make) -> None:
    process = make()
    assert process.require("json").eval("pass").call("work:pid.__class__", 1, {}) is process


def test_require_imports_there(make: Make) -> None:
    process = make().require("wave", "sched").eval("import sys; loaded = 'wave' in sys.modules")
    process.eval("assert loaded and 'sched' in sys.modules").ready(10)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a b", "1a", "os;import sys", "a.", "a:b"])
def test_require_checks_names_here(make: Make, name: str) -> None:
    process = make()
    with pytest.raises(ValueError, match="module name"):
        process.require("json", name)
    with pytest.raises(TypeError, match="module name"):
        process.require(work)  # type: ignore[arg-type]
    process.ready(10)


def test_eval_runs_in_main_with_args(make: Make) -> None:
    process = make().eval("total = sum(args) + len(args)", 1, 2)
    process.eval("assert total == 5 and args == ()").eval("args = 3")
    process.eval("assert args == ('own',)", "own").eval("assert 'args' in dir()")
    process.ready(10)


def test_args_exist_during_eval_only(make: Make) -> None:
    process = make().eval("def check(): return 'args' in globals()", 1)
    process.eval("import __main__; seen = __main__.check()").ready(10)
    process.call("builtins.exec", "import __main__; assert not __main__.check()").ready(10)


def test_eval_cannot_see_the_server(make: Make) -> None:
    process = make().eval(
        "assert not {'server', 'wire', 'here', 'OBEY', 'Server', 'main', 'hidden'} & set(globals())"
    )
    process.eval("server = wire = here = main = stop = hidden = code = None")
    process.eval("del server, wire, here, main, stop, hidden, code").ready(10)


def test_code_that_does_not_compile_is_an_error_here(make: Make) -> None:
    process = make()
    with pytest.raises(SyntaxError):
        process.eval("def broken(:")
    with pytest.raises(TypeError, match="source text"):
        process.eval(b"pass")  # type: ignore[arg-type]
    process.eval("pass").ready(10)


def test_call_initialises_by_name(make: Make) -> None:
    process = make().call("os.putenv", "A_NAME", "a value").call("builtins:dict.fromkeys", "ab")
    process.call(os.getpid).ready(10)


def test_eval_error_reaches_the_caller_with_its_traceback(make: Make) -> None:
    process = make().eval("x = 1\nraise KeyError('lost')")
    with pytest.raises(earlyfork.RemoteError, match="KeyError") as caught:
        process.ready(10)
    assert "raise KeyError('lost')" in caught.value.remote_traceback
    assert "test_preparing.py" in caught.value.remote_traceback
    assert "earlyfork" not in caught.value.remote_traceback
    assert caught.value.type_name == "KeyError"
    assert process.wait(10) == 1
    assert process.error is not None
    assert process.error.remote_traceback == caught.value.remote_traceback
    with pytest.raises(earlyfork.RemoteError, match="KeyError"):
        process.wait(10, check=True)


def test_require_error_reaches_wait(make: Make) -> None:
    process = make().require("no_such_module_anywhere")
    sock = process.run("work.pid")
    assert process.wait(10) == 1
    assert process.error is not None
    assert process.error.type_name == "ModuleNotFoundError"
    assert sock.recv(100) == b""
    sock.close()


# When `run` follows at once, both may be there when the process looks for the first time.
@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_required_comes_between_what_was_sent(make: Make, at_once: bool) -> None:
    process = make().send_arg(1).require("mask_asked", "json").send_arg(..., b"x" * 300)
    if not at_once:
        process.ready(10)
    with process.run("mask_asked.tell") as sock:
        assert sock.recv(1000) == repr((set(), (1, ..., b"x" * 300))).encode()
    assert process.wait(10) == 0


@pytest.mark.parametrize("at_once", [False, True])
def test_a_required_module_may_exit(make: Make, at_once: bool) -> None:
    process = make().require("json", "exits_when_loaded", "no_such_module")
    if not at_once:
        assert readable_within(process.sentinel, 10)
    with process.run("work.pid") as sock:
        assert sock.recv(1) == b""
    assert process.wait(10, check=False) == 7
    assert process.error is None


def test_frames_that_a_dying_child_did_not_read_do_not_reset(make: Make) -> None:
    process = make().eval("raise SystemExit(9)")
    for _ in range(20):
        process.send_arg(b"x" * 5000)
    with process.run("work.pid") as sock:
        assert sock.recv(1) == b""
    assert process.wait(10) == 9


def test_unpicklable_value_is_an_error_here(make: Make) -> None:
    process = make().send_arg("first")
    with pytest.raises(TypeError, match="pickle"):
        process.send_arg("lost?", lambda: None)
    with pytest.raises(TypeError, match="pickle"):
        process.eval("pass", lambda: None)
    assert work.got(process.send_arg("last").run(work.echo)) == ("first", "last")
    assert process.wait(10) == 0


def test_too_large_a_value_is_an_error_here(make: Make) -> None:
    class FourGigabytes(bytes):
        """Claims its size only."""

    process = make()
    huge = memoryview(array.array("B", [0])).cast("B")
    assert huge.nbytes == 1
    with pytest.raises(ValueError, match="more than"):
        process.send_arg(bytes(1 << 30 | 1))
    assert work.got(process.send_arg(b"fits").run(work.echo)) == (b"fits",)
    assert process.wait(10) == 0


def test_large_values_arrive_whole(make: Make) -> None:
    big = os.urandom(1 << 20) * 5
    process = make().eval("size = len(args[0])", big).eval("assert size == 5 << 20")
    assert work.got(process.send_arg(big, big.hex()).run(work.echo)) == (big, big.hex())
    assert process.wait(10) == 0


def test_files_arrive_as_what_they_were(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    left, right = socket.socketpair()
    reader, writer = multiprocessing.Pipe(duplex=False)
    with open(path) as text, open(path, "rb") as binary, open(path, "r+b", 0) as raw, left, right:
        process = make().send_fh(text, left, binary.fileno(), reader, writer).send_fh(binary, raw)
        answer = work.got(process.run(work.types))
    reader.close()
    writer.close()
    kinds = [kind for kind, _ in answer]
    assert kinds == [
        "TextIOWrapper",
        "socket",
        "int",
        "Connection",
        "Connection",
        "BufferedReader",
        "FileIO",
    ]
    assert process.wait(10) == 0


def test_fds_arrive_close_on_exec(make: Make, tmp_path: Path) -> None:
    left, right = socket.socketpair()
    os.set_inheritable(left.fileno(), True)
    with left, right, open(tmp_path / "file", "w") as file:
        process = make().send_fh(left, file, file.fileno())
        assert work.got(process.run(work.inheritable)) == [False] * 4
    assert process.wait(10) == 0


def test_the_fd_is_duplicated_at_the_call(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w") as file:
        file.write("ours, ")
        process = make().send_fh(file).send_arg("theirs")
    with process.run(work.write_file) as sock:
        assert eof_within(sock.fileno())
    assert process.wait(10) == 0
    assert path.read_text() == "ours, theirs"


def test_append_mode_stays(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before ")
    with open(path, "a", encoding="latin-1") as file:
        process = make().send_fh(file).send_arg("après")
    with process.run(work.write_file) as sock:
        assert eof_within(sock.fileno())
    assert process.wait(10) == 0
    assert path.read_bytes() == b"before apr\xe8s"


def test_sockets_and_connections_work_there(make: Make) -> None:
    left, right = socket.socketpair()
    near, far = multiprocessing.Pipe()
    for handle in (right, far):
        process = make().send_fh(handle)
        handle.close()
        assert work.got(process.run(work.talk)) == type(handle).__name__
        assert process.wait(10) == 0
    assert left.recv(100) == b"socket"
    assert near.recv() == {"connection": True}
    left.close()
    near.close()


class Detached:
    """A wrapper of a file that was taken out of it."""

    def fileno(self) -> int:
        raise ValueError("underlying buffer has been detached")


def test_bad_files_are_refused_here(make: Make, tmp_path: Path) -> None:
    process = make().send_arg("kept")
    closed = open(tmp_path / "file", "w")
    closed.close()
    left, right = socket.socketpair()
    left.close()
    number = right.fileno()
    near, far = multiprocessing.Pipe()
    near.close(), far.close()
    stale = types.SimpleNamespace(fileno=lambda: 1 << 20)  # as of a library that kept a number
    for bad in (closed, left, -1, io.BytesIO(), 1 << 40, near, Detached(), stale):
        with pytest.raises(ValueError, match=r"can't be sent|no fd"):
            process.send_fh(right, bad)
    right.close()
    with pytest.raises(ValueError, match="not open"):
        process.send_fh(number)
    for bad in ("name", None, True, object()):
        with pytest.raises(TypeError):
            process.send_fh(bad)
    assert work.got(process.run(work.echo)) == ("kept",)
    assert process.wait(10) == 0


def test_a_tls_socket_is_refused_with_advice(make: Make) -> None:
    left, right = socket.socketpair()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        context.wrap_socket(left, do_handshake_on_connect=False) as wrapped,
        right,
        pytest.raises(TypeError, match="before wrapping"),
    ):
        make().send_fh(wrapped)


def test_many_fds(make: Make) -> None:
    reader, writer = os.pipe()
    process = make()
    for _ in range(300):
        process.send_fh(reader)
    os.close(reader)
    os.close(writer)
    assert len(work.got(process.run(work.echo))) == 300
    assert process.wait(10) == 0


def test_run_args_takes_the_arguments_out(make: Make) -> None:
    process = make().send_arg("a", 2)
    process.eval("import earlyfork; taken = earlyfork.run_args()")
    process.eval("assert taken == ('a', 2); assert earlyfork.run_args() == ()").send_arg("later")
    assert work.got(process.run(work.echo)) == ("later",)
    assert process.wait(10) == 0


def test_run_args_is_empty_elsewhere() -> None:
    assert earlyfork.run_args() == ()


def test_dropping_the_last_reference_ends_the_child(make: Make) -> None:
    process = make().require("json").ready(10)
    pidfd = os.pidfd_open(process.pid)
    del process
    assert eof_or_exit(pidfd)


def test_close_ends_a_child_that_was_not_run(make: Make) -> None:
    process = make().ready(10)
    pidfd = os.pidfd_open(process.pid)
    process.close()
    process.close()
    assert eof_or_exit(pidfd)
    with pytest.raises(earlyfork.ProcessStateError, match="closed"):
        process.require("json")


def eof_or_exit(pidfd: int) -> bool:
    """Whether a process ends in time; closes the pidfd."""
    try:
        return readable_within(pidfd, 10)
    finally:
        os.close(pidfd)


def test_dropped_before_run_is_status_0(make: Make) -> None:
    """Seen through a second owner: the handle itself is gone when the process ends."""
    process = make()
    sock = process.to_fh()
    again = earlyfork.new_from_fh(sock)
    again.ready(10)
    with socket.socket(fileno=os.dup(again._comm)) as end:
        end.shutdown(socket.SHUT_WR)
    assert again.wait(10) == 0


def test_ready_waits_and_times_out(make: Make) -> None:
    process = make().eval("import select; select.select([], [], [], 1)")
    with pytest.raises(TimeoutError, match=r"not ready after 0\.05"):
        process.ready(0.05)
    assert process.ready(10) is process


def test_preparing_takes_effect_in_order(make: Make) -> None:
    process = make().eval("import os; os.environ['STEP'] = '1'").send_arg("x")
    process.eval("assert os.environ.pop('STEP') == '1'").require("work")
    process.call("work:VALUE.upper").ready(10)


def test_an_event_loop_can_wait_until_it_is_ready(make: Make) -> None:
    process = make().eval("import select; select.select([], [], [], 0.2)")
    readiness = process.when_ready()
    assert not readiness.done()
    with selectors.DefaultSelector() as selector:
        selector.register(readiness, selectors.EVENT_READ)
        while not readiness.done():
            assert selector.select(10)
    process.eval("1 / 0")
    readiness = process.when_ready()
    with pytest.raises(earlyfork.RemoteError, match="division by zero"):
        wait_until(readiness.done)


def test_a_process_that_ends_by_itself_is_never_ready(make: Make) -> None:
    process = make().eval("import os; os._exit(5)")
    with pytest.raises(earlyfork.ProcessStateError, match="ended before it was ready"):
        process.ready(10)
    assert process.wait(10) == 5


def test_code_that_takes_a_clones_status_leaves_it_unknown(make: Make) -> None:
    """`os.wait()` in a process that has clones: nobody can know, and no status is invented."""
    process = make()
    clone = process.fork()
    process.eval("import os; os.kill(args[0], 9); os.waitpid(args[0], 0)", clone.pid)
    with pytest.raises(earlyfork.ProcessLost, match=f"process {clone.pid}"):
        clone.wait(10)
    assert work.got(process.send_arg(1).run(work.echo)) == (1,)


def test_a_zombie_of_other_code_hides_no_clone(make: Make) -> None:
    """It is never waited for, and what comes after it is found all the same."""
    process = make().eval("import os\nif not os.fork(): os._exit(0)")
    process.eval("os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)")
    first, second = process.fork(), process.fork()
    process.eval("os.kill(args[0], 9); os.waitpid(args[0], 0)", first.pid)  # one is taken besides
    second.run("builtins.id").close()
    assert second.wait(10) == 0
    with pytest.raises(earlyfork.ProcessLost):
        first.wait(10)


def test_errors_travel_by_pickle(make: Make) -> None:
    """Pools of all kinds hand them on."""
    process = make().eval("raise LookupError('as told')")
    with pytest.raises(earlyfork.RemoteError) as caught:
        process.ready(10)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert (copy.type_name, copy.remote_traceback) == ("LookupError", caught.value.remote_traceback)


def test_an_error_when_there_is_no_traceback_module(make: Make) -> None:
    """A process that gave up its rights may not be able to load it: the last line is told."""
    process = make().eval("import sys; sys.modules['traceback'] = None; raise LookupError('told')")
    assert process.wait(10) == 1
    assert str(process.error) == "LookupError: told"


def test_what_is_no_frame_ends_a_process(make: Make) -> None:
    """Somebody who holds its socket writes what earlyfork never would."""
    process = make().ready(10)
    with process.to_fh() as sock:
        sock.sendall(wire.batch(wire.frame(99)))
        sock.settimeout(10)
        assert sock.recv(1) == b""


def test_half_of_a_command_is_none(make: Make) -> None:
    """An owner that ends in the middle of sending."""
    process = make().ready(10)
    pid = process.pid
    with process.to_fh() as sock:
        sock.sendall(wire.batch(wire.frame(wire.REQUIRE, b"work"))[:100])
    assert gone_within(pid)


def test_an_error_before_foreign_bytes_is_an_end_and_no_reset(make: Make) -> None:
    """What is left in the socket is read away, whatever it is."""
    process = make().ready(10)
    command = wire.frame(wire.EVAL, payloads.pack_values(("<sent>", "raise SystemExit(3)")))
    with process.to_fh() as sock:
        sock.sendall(wire.batch(command) + b"no frame" * 10_000)
        sock.settimeout(10)
        assert sock.recv(1) == b""


def test_what_was_sent_with_a_failing_command_is_closed(make: Make) -> None:
    """Also a process that was asked for there: its owner sees the end, and is told why."""
    process = make().eval("raise LookupError('told')")
    clone = None
    with contextlib.suppress(earlyfork.TemplateDied):
        clone = process.send_fh(0).fork()
    if clone is not None:
        with pytest.raises(earlyfork.TemplateDied, match="LookupError: told"):
            clone.ready(10)
    assert process.wait(10) == 1
