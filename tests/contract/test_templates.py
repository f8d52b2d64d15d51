"""SEMANTICS, "Constructors": every prepared process is a template."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import work

import earlyfork
from earlyfork._owner import standbys
from support import alive, children, comm, readable_within, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[], earlyfork.Process]


def run(process: earlyfork.Process) -> object:
    """The answer of a process that echoes its arguments."""
    answer = work.got(process.run(work.echo))
    assert process.wait(10) == 0
    return answer


def test_what_was_sent_before_fork_is_cloned_and_later_is_not(make: Make) -> None:
    template = make().send_arg("before")
    clones = [template.fork() for _ in range(3)]
    template.send_arg("later")
    clones += [template.fork() for _ in range(3)]
    answers = [run(clone.send_arg(number)) for number, clone in enumerate(clones)]
    assert answers == [
        *[("before", number) for number in range(3)],
        *[("before", "later", number) for number in range(3, 6)],
    ]


def test_the_order_holds_however_many_standbys(make: Make) -> None:
    template = make().eval("state = []")
    for step in range(6):
        template.eval("state.append(args[0])", step)
        for _ in range(4):
            clone = template.fork()
            clone.eval("assert state == list(range(args[0] + 1)), state", step).ready(10)


def test_handles_are_cloned(make: Make, tmp_path: Path) -> None:
    with open(tmp_path / "file", "w") as file:
        template = make().send_fh(file)
    for number in range(3):
        clone = template.fork().send_arg(f"{number}")
        clone.run(work.write_file).close()
        assert clone.wait(10) == 0
    assert (tmp_path / "file").read_text() == "012"


def test_clones_of_clones(make: Make) -> None:
    first = make().send_arg(1)
    second = first.fork().send_arg(2)
    third = second.fork().send_arg(3)
    assert run(third.fork()) == (1, 2, 3)
    assert run(first) == (1,)
    assert run(second) == (1, 2)
    assert run(third) == (1, 2, 3)


def test_a_process_with_clones_can_be_run(make: Make) -> None:
    template = make().send_arg("x").ready(10)
    clone = template.fork()
    pid = template.pid
    sock = template.run(work.hold)
    assert sock.recv(1) == b"!"
    assert template.pid != pid
    assert run(clone) == ("x",)
    template.kill()
    assert template.wait(10) == -signal.SIGKILL
    sock.close()


def test_a_template_that_failed_names_the_reason_to_its_clones(make: Make) -> None:
    template = make().eval("raise ValueError('bad preparation')")
    try:
        clone = template.fork()
    except earlyfork.TemplateDied as error:  # it was quicker
        assert "bad preparation" in str(error.__cause__) or template.error  # noqa: PT017
        return
    with pytest.raises(earlyfork.TemplateDied, match="bad preparation"):
        clone.wait(10)
    with pytest.raises(earlyfork.TemplateDied):
        clone.ready(10)
    assert template.wait(10) == 1


def test_fork_of_a_killed_template_says_so(make: Make) -> None:
    template = make().ready(10)
    template.fork().ready(10)
    template.kill()
    assert template.wait(10) == -signal.SIGKILL
    with pytest.raises(earlyfork.TemplateDied, match="status -9"):
        for _ in range(4):  # standbys that were queued are clones all the same
            template.fork()


def test_workers_of_a_killed_template_are_lost_not_invented(make: Make) -> None:
    template = make()
    worker = template.fork()
    sock = worker.run(work.hold)
    assert sock.recv(1) == b"!"
    template.kill()
    template.wait(10)
    # A standby that was just being forked may hold copies of its template's fds a moment longer.
    wait_until(lambda: "lost" in repr(worker))
    with pytest.raises(earlyfork.ProcessLost, match="template was killed") as caught:
        worker.poll()
    assert caught.value.pid == worker.pid
    assert alive(worker.pid)
    with pytest.raises(earlyfork.ProcessLost):
        worker.wait()
    assert worker.returncode is None
    assert "lost" in repr(worker)
    worker.kill()
    with pytest.raises(earlyfork.ProcessLost):
        worker.wait(10)
    assert not alive(worker.pid)
    worker.kill()  # which is gone
    sock.close()


def test_a_dropped_template_keeps_its_workers(make: Make) -> None:
    template = make()
    worker = template.fork()
    sock = worker.run(work.hold)
    assert sock.recv(1) == b"!"
    del template
    sock.close()
    assert worker.wait(10) == 0


def test_a_dropped_template_ends_with_its_last_worker(make: Make) -> None:
    template = make().ready(10)
    pidfd = os.pidfd_open(template.pid)
    worker = template.fork()
    sock = worker.run(work.hold)
    assert sock.recv(1) == b"!"
    template.close()
    assert not readable_within(pidfd, 0.05)
    sock.close()
    assert worker.wait(10) == 0
    assert readable_within(pidfd, 10)
    os.close(pidfd)


def test_to_fh_and_new_from_fh_here(make: Make) -> None:
    process = make().send_arg("state")
    taken = earlyfork.new_from_fh(process.to_fh())
    with pytest.raises(earlyfork.ProcessStateError, match="handed over"):
        process.send_arg(1)
    with pytest.raises(earlyfork.ProcessStateError):
        process.wait(1)
    assert run(taken.send_arg("more")) == ("state", "more")


def test_to_fh_travels_to_another_process(make: Make) -> None:
    prepared = make().send_arg("far")
    sock = prepared.to_fh()
    other = earlyfork.new().send_fh(sock)
    sock.close()
    answer, status, pid = work.got(other.run(work.take_up))
    assert (answer, status) == (("far",), 0)
    assert pid not in (os.getpid(), other.pid)
    assert other.wait(10) == 0


def test_a_clone_changes_hands_while_its_template_ends(make: Make, tmp_path: Path) -> None:
    """The template stays for those for whom somebody waits, and hears late that this has changed."""
    fifos = [str(tmp_path / name) for name in ("busy", "go on")]
    for fifo in fifos:
        os.mkfifo(fifo)
    template = make()
    clone = template.fork().send_arg("state").ready(10)
    pid = clone.pid
    template.eval("open(args[0], 'w').close(); open(args[1]).close(); raise SystemExit(7)", *fifos)
    open(fifos[0]).close()
    taken = earlyfork.new_from_fh(clone.to_fh())
    taken.eval("open(args[0], 'w').close()", fifos[1])
    assert taken.pid == pid
    assert run(taken) == ("state",)
    taken.close()
    assert template.wait(10) == 7


def taken_up_with_a_standby(make: Make) -> earlyfork.Process:
    """Its new owner knows nothing of what was sent before."""
    process = make().fork().eval("state = 0")
    taken = earlyfork.new_from_fh(process.to_fh())
    taken.standby = 1
    taken.fork().close()
    wait_until(lambda: "ef-standby" in map(comm, children(taken.pid)))
    return taken.ready(10)  # by now that one is queued


def test_a_standby_of_a_process_that_was_taken_up(make: Make) -> None:
    assert taken_up_with_a_standby(make).fork()._watch.known_pid()


def test_a_stale_standby_of_a_process_that_was_taken_up(make: Make) -> None:
    taken = taken_up_with_a_standby(make).eval("state = 1")
    taken.fork().eval("assert state == 1, state").ready(10)


def test_one_hundred_at_once_each_with_its_own_status(make: Make) -> None:
    template = make()
    processes = [template.fork().send_arg(status) for status in range(100)]
    socks = [process.run(work.os_exit) for process in processes]
    assert [process.wait(30) for process in processes] == list(range(100))
    for sock in socks:
        sock.close()


def test_threads_fork_one_template_at_once(make: Make) -> None:
    template = make().send_arg("t")
    answers: list[object] = []
    failures: list[BaseException] = []

    def work_on(number: int) -> None:
        try:
            answers.extend(run(template.fork().send_arg(number)) for _ in range(5))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work_on, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(answers) == sorted([("t", number) for number in range(8) for _ in range(5)])


def test_standby_can_be_set(make: Make) -> None:
    template = make()
    with pytest.raises(ValueError):
        template.standby = -1
    for number in (0, 1, 3):
        template.standby = number
        assert template.standby == number
        assert [run(template.fork().send_arg(n)) for n in range(4)] == [(n,) for n in range(4)]


def ahead(template: earlyfork.Process) -> int:
    """How many standbys the template keeps."""
    return [comm(pid) for pid in children(template.pid)].count("ef-standby")


def keeps(template: earlyfork.Process, number: int) -> bool:
    """Whether it comes to keep so many; what was refused is tried again at the next occasion."""
    for _ in range(5):
        with contextlib.suppress(AssertionError):
            wait_until(lambda: ahead(template) == number, 2)
            return True
        run(template.fork())
    return False


def burst(template: earlyfork.Process) -> None:
    """Ask for twenty at once, and see all of them end."""
    clones = [template.fork().send_arg(number) for number in range(20)]
    assert [run(clone) for clone in clones] == [(number,) for number in range(20)]


def test_standbys_follow_the_rhythm(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After bursts there are more; when nobody has missed any for long, as few as ever."""
    monkeypatch.setattr(standbys, "BURST", 60)  # however slow this machine is
    monkeypatch.setattr(standbys, "CALM", 4)
    template = make()
    most = max(standbys.MOST_FOR_BURSTS, standbys.DEFAULT_STANDBY)

    def knows_bursts() -> bool:
        """Some of a burst may find a standby that has come meanwhile: then it was none."""
        burst(template)
        assert template._standbys is not None
        return template._standbys.number == most

    wait_until(knows_bursts)
    assert keeps(template, most)
    monkeypatch.setattr(standbys, "BURST", 0)  # one after the other is none

    def is_calm() -> bool:
        """One after the other; now and then the next one comes before there is a standby."""
        assert run(template.fork()) == ()
        assert template._standbys is not None
        return template._standbys.number == standbys.DEFAULT_STANDBY

    wait_until(is_calm)
    assert keeps(template, standbys.DEFAULT_STANDBY)


@pytest.mark.parametrize("number", [0, 3])
def test_a_number_that_was_set_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(standbys, "BURST", 60)
    template = make()
    template.standby = number
    burst(template)
    burst(template)
    assert keeps(template, number)
    assert run(template.fork()) == ()
    assert template._standbys is not None
    assert template._standbys.number == number


def test_a_host_that_forks_can_go_on_on_both_sides(make: Make) -> None:
    half_prepared = make().send_arg("mine")
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        verdict = b"bad"
        try:
            assert work.got(earlyfork.new().send_arg("child").run(work.echo)) == ("child",)
            try:
                half_prepared.send_arg(1)
            except earlyfork.ProcessStateError:
                verdict = b"good"
        finally:
            os.write(writer, verdict)
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert os.read(reader, 10) == b"good"
    os.close(reader)
    assert run(half_prepared) == ("mine",)
    assert run(earlyfork.new().send_arg("parent")) == ("parent",)


NOTES = """
import sys
kids = sys._getframe(1).f_locals["server"].kids
notes = (kids.said, kids.linked.held, kids.linked.watched, kids.ups, kids.ends, kids.status)
assert not any(notes), notes
"""


@pytest.mark.parametrize("linked", [False, True])
def test_nothing_is_remembered_of_the_dead(linked: bool) -> None:
    """What a child may say depends on what it has said. Another one may get its pid."""
    template = earlyfork.new().require("work")
    template.standby = 0
    for _ in range(4):
        process = template.fork()
        work.got(process.run(work.asks, linked=linked))
        assert process.wait(10) == 0
        process = template.fork()
        process.run(work.echo, linked=linked).close()
        process.wait(10)
    wait_until(lambda: not children(template.pid))
    template.eval(NOTES).ready(10)
