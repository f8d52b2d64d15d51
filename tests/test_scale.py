"""Many workers of one template: the forker stays small, and nobody sees that it had help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import work

import earlyfork
from earlyfork._child.children import CROWD, FDS_PER_CHILD
from support import wait_until

if TYPE_CHECKING:
    import socket


def hold(template: earlyfork.Process, number: int) -> list[tuple[earlyfork.Process, socket.socket]]:
    """Workers that live until their sockets are closed."""
    processes = [template.fork() for _ in range(number)]
    found = [(process, process.run(work.hold)) for process in processes]
    for process, sock in found:
        assert sock.recv(1) == b"!", process
    return found


def end(workers: list[tuple[earlyfork.Process, socket.socket]]) -> None:
    """Let them end, and see that each did so properly."""
    for _, sock in workers:
        sock.close()
    assert [process.wait(30) for process, _ in workers] == [0] * len(workers)


def test_a_forker_has_few_children_however_many_live() -> None:
    template = earlyfork.new().require("work").ready(20)
    workers = hold(template, 3 * CROWD)
    assert len({process.pid for process, _ in workers}) == 3 * CROWD
    assert len(os.listdir(f"/proc/{template.pid}/fd")) < FDS_PER_CHILD * CROWD + 40
    children = Path(f"/proc/{template.pid}/task/{template.pid}/children").read_text().split()
    assert len(children) < CROWD + 10
    late = template.fork().send_arg(7)
    late.run(work.os_exit).close()
    assert late.wait(20) == 7
    end(workers)


def test_order_and_state_hold_in_a_crowd() -> None:
    template = earlyfork.new().send_arg("first").require("work")
    workers = hold(template, CROWD + 5)
    assert work.got(template.fork().run(work.echo)) == ("first",)
    template.send_arg("second")
    for _ in range(5):
        assert work.got(template.fork().run(work.echo)) == ("first", "second")
    end(workers)


def test_the_nursery_goes_with_its_last_child() -> None:
    template = earlyfork.new().require("work").ready(20)
    workers = hold(template, CROWD + 20)
    template.close()
    end(workers)
    wait_until(lambda: not [entry for entry in earlyfork.status().processes if entry.pid is None])


def test_workers_of_the_nursery_make_processes_too() -> None:
    template = earlyfork.new().require("work")
    workers = hold(template, CROWD + 5)
    asking = template.fork().send_arg(2)
    assert len(set(work.got(asking.run(work.nested)))) == 3
    assert asking.wait(20) == 0
    end(workers)
