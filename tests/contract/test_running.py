"""SEMANTICS, "Running", and what the handle on a running process tells."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
from earlyfork._shared import wire
from support import alive, comm, gone_within, readable_within, state, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], earlyfork.Process]


@pytest.mark.parametrize("form", ["work.pid", "work:pid", work.pid])
def test_forms_of_a_function(make: Make, form: object) -> None:
    process = make()
    assert work.got(process.run(form)) == process.pid  # type: ignore[arg-type]
    assert process.wait(10) == 0


def test_entry_point_form_reaches_into_objects(make: Make) -> None:
    process = make()
    assert work.got(process.run("work:Namespace.Inner.answer")) == "inner"
    assert process.wait(10) == 0
    process = make()
    assert work.got(process.run(work.Namespace.Inner.answer)) == "inner"
    assert process.wait(10) == 0


def test_bare_names_are_looked_up_in_main(make: Make) -> None:
    process = make().eval("import work\ndef mine(sock): work.give(sock, 'mine')")
    assert work.got(process.run("mine")) == "mine"
    assert process.wait(10) == 0


def test_functions_that_no_other_process_can_find(make: Make) -> None:
    process = make()
    with pytest.raises(ValueError, match="lambda"):
        process.run(lambda _sock: None)
    with pytest.raises(ValueError, match="inside"):
        process.run(test_forms_of_a_function.__wrapped__ if False else nested())
    with pytest.raises(TypeError, match="send_arg"):
        process.run(7)  # type: ignore[arg-type]
    for bad in ("", "a b", "work:", ":pid", "work:a b", "work pid"):
        with pytest.raises(ValueError, match="function name"):
            process.run(bad)
    assert work.got(process.run(work.pid)) == process.pid  # nothing was lost
    assert process.wait(10) == 0


def nested() -> Callable[[socket.socket], None]:
    """A function inside a function."""

    def inner(sock: socket.socket) -> None:
        sock.close()

    return inner


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("work.no_such_function", "AttributeError"),
        ("no_such_module.f", "ModuleNotFoundError"),
        ("no_such_name_in_main", "AttributeError"),
    ],
)
def test_missing_functions_are_reported(make: Make, name: str, error: str) -> None:
    process = make()
    with process.run(name) as sock:
        assert sock.recv(1) == b""
    assert process.wait(10) == 1
    assert process.error is not None
    assert process.error.type_name == error


def test_user_bytes_right_after_run_all_arrive(make: Make) -> None:
    process = make()
    sock = process.run(work.echo_stream)
    data = os.urandom(1 << 16)
    for size in (1, 2, 255, 256, 257, 4096, len(data)):
        sock.sendall(data[:size])
    sock.shutdown(socket.SHUT_WR)
    got = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    sock.close()
    assert got == b"".join(data[:size] for size in (1, 2, 255, 256, 257, 4096, len(data)))
    assert process.wait(10) == 0


def test_the_socket_is_a_blocking_close_on_exec_socket(make: Make) -> None:
    process = make()
    with process.run(work.inheritable) as sock:
        assert type(sock) is socket.socket
        assert sock.getblocking()
        assert sock.gettimeout() is None
        assert not sock.get_inheritable()
        assert sock.family == socket.AF_UNIX
    process.wait(10)


def test_preparing_after_run_is_refused(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    for call in (
        lambda: process.require("json"),
        lambda: process.eval("pass"),
        lambda: process.call("os.getpid"),
        lambda: process.send_arg(1),
        lambda: process.send_fh(0),
        process.compact,
        process.fork,
        process.ready,
        process.to_fh,
        lambda: process.run(work.pid),
    ):
        with pytest.raises(earlyfork.ProcessStateError, match="running"):
            call()
    sock.sendall(b"nothing leaked into the stream")
    sock.close()
    assert process.wait(10) == 0


def test_pid_poll_wait_returncode(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    assert process.poll() is None
    assert process.returncode is None
    assert os.path.exists(f"/proc/{process.pid}")
    with pytest.raises(TimeoutError, match="still lives"):
        process.wait(0.05)
    with pytest.raises(TimeoutError):
        process.wait(0)
    sock.close()
    assert process.wait(10) == 0
    assert process.returncode == 0


def test_signals(make: Make) -> None:
    for send, status in (
        (lambda p: p.terminate(), -signal.SIGTERM),
        (lambda p: p.kill(), -signal.SIGKILL),
        (lambda p: p.send_signal(signal.SIGUSR1), -signal.SIGUSR1),
    ):
        process = make()
        sock = process.run(work.hold)
        assert sock.recv(1) == b"!"
        send(process)
        assert process.wait(10) == status
        send(process)  # nothing happens, and nobody else is hit
        sock.close()
    process = make()
    with pytest.raises(ValueError):
        process.send_signal(-1)


def test_terminate_ends_a_process_that_is_being_prepared(make: Make) -> None:
    process = make().ready(10)
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM


def test_sentinel_is_readable_at_exit_only(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    assert not readable_within(process.sentinel, 0.05)
    sock.close()
    assert readable_within(process.sentinel, 10)
    assert process.wait(10) == 0
    assert readable_within(process.sentinel, 0)


def test_wait_does_not_depend_on_eof(make: Make) -> None:
    """A child of the worker keeps the socket open."""
    process = make()
    sock = process.run("work:children")
    child = int(sock.recv(100))
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    os.kill(child, signal.SIGKILL)
    sock.setblocking(True)
    assert sock.recv(1) == b""
    sock.close()


def test_many_threads_may_wait(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(process.wait(10))) for _ in range(20)]
    for thread in threads:
        thread.start()
    sock.close()
    for thread in threads:
        thread.join()
    assert found == [0] * 20


def test_signal_state_is_a_fresh_interpreters(make: Make) -> None:
    handlers, blocked = work.got(make().run(work.signals))
    assert set(handlers) == {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
    assert "default_int_handler" in handlers[signal.SIGINT]
    assert blocked == []


def test_no_server_frame_lies_under_user_code(make: Make) -> None:
    names = work.got(make().run(work.stack))
    assert not [name for name in names if ".serve" in name and "serve_" not in name]
    assert names[:2] == ["work.stack", "earlyfork._child.ending.finish"]


def test_a_worker_holds_its_own_fds_only(make: Make) -> None:
    process = make()
    sock = process.run(work.open_files)
    own, found = work.got(sock)
    others = {fd: target for fd, target in found.items() if fd != own}
    # The way up to its template, and what the interpreter keeps open itself.
    sockets = [t for t in others.values() if t.startswith("socket:")]
    if make.__name__ == "snapshot":  # one dead end in the place of all that the program had open
        sockets = list({*sockets})[1:]
    assert len(sockets) == 1
    assert not [t for t in others.values() if t.startswith(("pipe:", "anon_inode:"))]
    process.wait(10)


def test_a_worker_bears_its_functions_name(make: Make) -> None:
    process = make()
    assert comm(process.ready(10).pid) == "ef-prepared" or comm(process.pid) == "ef-standby"
    sock = process.run("work.hold")
    assert sock.recv(1) == b"!"
    assert comm(process.pid) == "work.hold"
    sock.close()
    process.wait(10)


def test_nothing_of_ours_is_a_child_of_the_worker(make: Make) -> None:
    process = make()
    assert work.got(process.run(work.os_wait)) == "no children"
    assert process.wait(10) == 0


def test_nested_at_any_depth(make: Make) -> None:
    process = make().send_arg(3)
    pids = work.got(process.run(work.nested))
    assert len(set(pids)) == 4
    assert process.wait(10) == 0


def test_repr_tells_identity_and_state(make: Make) -> None:
    process = make().ready(10)
    assert repr(process) == f"<Process {process.pid}, preparing>"
    sock = process.run("work.hold")
    assert sock.recv(1) == b"!"
    assert repr(process) == f"<Process {process.pid} work.hold, running>"
    sock.close()
    process.wait(10)
    assert repr(process) == f"<Process {process.pid} work.hold, exited 0>"


def test_status_lists_the_process(make: Make) -> None:
    process = make()
    sock = process.run("work.hold")
    assert sock.recv(1) == b"!"
    pid = process.pid  # status() asks for nothing, so it may not know the pid yet
    status = earlyfork.status()
    assert (pid, "work.hold", "running") in status.processes
    assert str(process.pid) in str(status)
    assert status.templates
    sock.close()
    process.wait(10)
    assert process.pid not in [entry.pid for entry in earlyfork.status().processes]


def test_linked_works_like_any_other_until_then(make: Make) -> None:
    process = make()
    sock = process.run(work.hold, linked=True)
    assert sock.recv(1) == b"!"
    sock.close()
    assert process.wait(10) == 0


def test_a_killed_worker_ends_its_stream(make: Make) -> None:
    process = make()
    sock = process.run(work.hold)
    assert sock.recv(1) == b"!"
    process.kill()
    assert sock.recv(1) == b""
    sock.close()
    assert process.wait(10) == -signal.SIGKILL


def test_wait_until_named_in_ps(make: Make) -> None:
    process = make()
    sock = process.run("work:hold")
    wait_until(lambda: comm(process.pid) == "work:hold")
    assert sock.recv(1) == b"!"
    sock.close()
    process.wait(10)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forker_that_does_not_hear_is_waited_for(make: Make) -> None:
    """Requests that its socket can't take wait until it goes on, and are all served."""
    template = make().require("work")
    process = template.fork()
    with contextlib.closing(template):
        sock = process.send_arg(template.pid).run(work.crowd)
        assert sock.recv(1) == b"!"
        wait_until(lambda: state(process.pid) == "S")  # nothing else there can sleep
        os.kill(template.pid, signal.SIGCONT)
        pids = work.got(sock)
        assert process.wait(10) == 0
    assert len(set(pids)) == len(pids) > 10


def test_a_linked_worker_ends_with_all_that_it_started(make: Make) -> None:
    """Some end by SIGTERM and are gone when SIGKILL comes for the rest."""
    process = make()
    pids = work.got(process.run(work.links))
    assert process.wait(10) == 0
    assert len(set(pids)) == 3
    assert all(gone_within(pid) for pid in pids)


@pytest.mark.parametrize("end", ["closed", "dropped", "dropped after its end"])
def test_a_linked_process_goes_on_without_its_handle(make: Make, end: str) -> None:
    """It ends with this program, and until then nobody needs the handle. No fd stays behind."""
    process = make()
    sock = process.run(work.hold, linked=True)
    assert sock.recv(1) == b"!"
    pid = process.pid
    if end == "closed":
        process.close()
        assert process.state == "closed"
    elif end == "dropped":
        del process
    assert alive(pid)
    sock.close()  # what it waits for
    wait_until(lambda: not state(pid))  # reaped, and told before that
    if end == "dropped after its end":
        assert process.wait(10) == 0
        del process
    found = earlyfork.status()  # looks after those without a handle
    assert pid not in [entry.pid for entry in found.processes]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_template_without_an_owner_makes_no_siblings(make: Make) -> None:
    """It waits for its worker's end only; its streams are gone with the owner."""
    template = make().require("work")
    process = template.fork()
    sock = process.run(work.late_sibling)
    assert sock.recv(1) == b"!"
    pid = template.pid
    template.close()
    wait_until(lambda: os.readlink(f"/proc/{pid}/fd/1") == "/dev/null")
    sock.sendall(b"!")
    assert work.got(sock) == (errno.EPIPE, "never made")
    assert process.wait(10) == 0


def test_an_owner_that_does_not_read_its_status_is_not_waited_for(make: Make) -> None:
    """A forker goes on; that owner takes the process for lost, and the next one is as ever."""
    template = make().require("work")
    process = template.fork()
    with contextlib.closing(template):
        for _ in range(5000):  # answers that nobody looks at
            process._add(wire.READY, b"7")
        process._flush()
        hung_up = select.poll()
        hung_up.register(process._watch.fd, 0)
        assert hung_up.poll(10_000)
        with pytest.raises(earlyfork.ProcessLost):
            process.poll()
        process.kill()
        with pytest.raises(earlyfork.ProcessLost):
            process.wait(10)
        process.close()
        after = template.fork().send_arg(1)
        assert work.got(after.run(work.echo)) == (1,)
        assert after.wait(10) == 0


# -- alone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("ahead", [False, True], ids=["at once", "with arguments"])
def test_who_runs_alone_can_ask_for_nothing(make: Make, linked: bool, ahead: bool) -> None:
    process = make().require("work")
    if ahead:
        process.send_arg(1)
    answers = work.got(process.run(work.asks, alone=True, linked=linked))
    assert process.wait(10) == 0
    assert [kind for kind, _ in answers] == ["TemplateDied", "TemplateDied"]
    assert all("told to run alone (alone=True)" in text for _, text in answers)


def test_who_runs_alone_has_one_socket_less(make: Make) -> None:
    """The way up. A snapshot has more, which are dead: they stand for what the program had open."""
    sockets = {}
    for alone in (False, True):
        process = make()
        with process.run(work.open_files, alone=alone) as sock, sock.makefile("rb") as file:
            _, found = pickle.loads(file.read())
        sockets[alone] = {to for to in found.values() if to.startswith("socket:")}
        assert process.wait(10) == 0
    assert len(sockets[True]) == len(sockets[False]) - 1


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    ("function", "given", "code"),
    [
        (work.returns, (), 0),
        (work.exit_with, (7,), 7),
        (work.os_exit, (8,), 8),
        (work.die_by, (signal.SIGSEGV,), -signal.SIGSEGV),
        (work.stubborn, (), -signal.SIGKILL),
    ],
)
def test_how_who_ran_alone_ended_is_known(
    make: Make, function: Callable[..., object], given: tuple[object, ...], code: int, linked: bool
) -> None:
    process = make().send_arg(*given)
    sock = process.run(function, alone=True, linked=linked)
    if function is work.stubborn:
        assert sock.recv(1) == b"!"
        process.kill()
    sock.close()
    assert process.wait(10) == code
    assert process.error is None


def test_what_is_raised_alone_shows_by_the_status(make: Make) -> None:
    process = make().eval("import sys; sys.stderr = None")
    process.run(work.fails, alone=True).close()
    assert process.wait(10) == 1
    assert process.error is None


def test_a_clone_of_a_process_that_has_clones_runs_alone(make: Make) -> None:
    process = make().require("work")
    clone = process.fork()
    assert {kind for kind, _ in work.got(process.run(work.asks, alone=True))} == {"TemplateDied"}
    assert process.wait(10) == 0
    assert work.got(clone.send_arg(1).run(work.echo)) == (1,)
    assert clone.wait(10) == 0
