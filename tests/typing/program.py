"""A user's program, for type checkers: all of it is right, but for the lines that say what is wrong.

`make types` checks it by mypy in its strict mode and by pyright. Each `type: ignore` must be needed:
where a mistake is not seen any more, the checker says that its line is needless.
"""

from __future__ import annotations

import asyncio
import socket  # noqa: TC003 - as users write it
import sys

import earlyfork
import earlyfork.command
import earlyfork.mp
import earlyfork.rpc
from earlyfork import EarlyForkError, Process, RemoteError, Status, aio, doctor
from earlyfork.template import TEMPLATE, snapshot


def work(sock: socket.socket, number: int) -> None:
    sock.sendall(b"%d" % number)


def without_a_socket() -> None: ...


def with_another_first(number: int) -> None: ...


def prepared() -> Process:
    process: earlyfork.Process = earlyfork.new(env={"TZ": "UTC"}, cwd="/")
    return process.require("json").eval("x = args", 1).call("gc.freeze").send_arg(1, "a").ready(5.0)


def runs() -> int:
    with prepared().run(work, linked=True) as sock:
        data: bytes = sock.recv(100)
    with prepared().run("module.function") as sock:
        data += sock.recv(100)
    prepared().run(work, alone=True).close()
    process = TEMPLATE.fork()
    process.run(without_a_socket)  # type: ignore[arg-type]
    process.run(with_another_first)  # type: ignore[arg-type]
    process.run(17)  # type: ignore[arg-type]
    process.run(work, True)  # type: ignore[call-arg]
    status: int = process.wait(timeout=1.0, check=True)
    maybe: int | None = process.poll()
    pid: int = process.pid
    return status + (maybe or 0) + pid + len(data)


def typos() -> None:
    earlyfork.nwe()  # type: ignore[attr-defined]
    earlyfork.new().requier("json")  # type: ignore[attr-defined]
    earlyfork.new(cdw="/")  # type: ignore[call-arg]
    earlyfork.rpc.Cleint(earlyfork.new())  # type: ignore[attr-defined]
    earlyfork.command.popen_([])  # type: ignore[attr-defined]


def looks() -> str:
    seen: Status = earlyfork.status()
    report = doctor.report(timeout=1.0)
    problems: tuple[str, ...] = report.problems
    early: bool = seen.early
    return f"{early} {problems} {seen.interpreter} {earlyfork.__version__} {earlyfork.is_frozen()}"


def errors() -> str | None:
    try:
        snapshot(keep_fds=[3], compact=True).fork().ready()
    except RemoteError as error:
        return error.type_name
    except (EarlyForkError, OSError):
        return None
    return None


def calls() -> None:
    with earlyfork.rpc.Client(earlyfork.new()) as client:
        print(client.call("math.hypot", 3, 4))
        print(client.submit("math.factorial", 5).result(1.0))
        for item in client.stream("itertools.count"):
            print(item)
        try:
            client.options(timeout=0.1).call("time.sleep", 60)
        except earlyfork.rpc.CallTimeout as error:
            print(error)


async def awaits() -> None:
    process = earlyfork.new()
    async with aio.run(process, work) as stream:
        data: bytes = await stream.receive()
    async with aio.run(process, without_a_socket):  # type: ignore[arg-type]
        pass
    status: int = await aio.wait(process)
    print(data, status)


def commands() -> None:
    done = earlyfork.command.run(["true"], check=True, capture_output=True)
    print(done.returncode)
    with earlyfork.command.Popen(["cat"], stdin=-1) as command:
        print(command.wait())


if __name__ == "__main__":
    print(runs(), looks(), errors(), earlyfork.mp.get_context())
    calls()
    commands()
    asyncio.run(awaits())
    sys.exit(earlyfork.sibling().run(work).fileno())
