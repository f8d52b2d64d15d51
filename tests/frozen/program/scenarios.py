"""What the frozen program can be asked to do. A library: knows nothing of how its host begins.

Each scenario returns what it saw; the test judges.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import zzz_hooked  # noqa: F401 - has a runtime hook of its own, and so has aaa_hooked

import earlyfork
from earlyfork import command, doctor

PATIENCE = 20
Seen = dict[str, Any]
TEMPLATE: earlyfork.Process | None = None  # the program's, when it has made one


def play(name: str, result: str, words: list[str]) -> None:
    """Run a scenario and leave what it saw in the file `result`."""
    leave(SCENARIOS[name](*words), result)


def leave(seen: object, result: str) -> None:
    """Write a file that is complete as soon as it exists."""
    part = Path(f"{result}.part")
    part.write_text(json.dumps(seen))
    part.rename(result)


def answer(sock: socket.socket) -> Any:
    """All that a worker says, as an object."""
    sock.settimeout(PATIENCE)
    with sock, sock.makefile("rb") as file:
        return json.loads(file.read())


def about() -> Seen:
    status = earlyfork.status()
    return {"early": status.early, "reason": status.reason, "pid": os.getpid()}


def basic() -> Seen:
    """A worker in a module that is named nowhere but in this string."""
    process = earlyfork.new().send_arg("greeting", b"\0\xff", {"a": [1, 2]})
    said = answer(process.run("only_named.worker"))
    return {
        **about(),
        "said": said,
        "process_pid": process.pid,
        "returncode": process.wait(PATIENCE),
        "environment": sorted(k for k in os.environ if "EARLYFORK" in k),
    }


def chdir() -> Seen:
    """A program that has left the directory it was started from."""
    os.chdir("/")
    return basic()


def several(count: str, worker: str = "only_named.worker") -> Seen:
    """As many processes as asked for. The hook cannot know this name, and says so."""
    processes = [earlyfork.new() for _ in range(int(count))]
    said = [answer(process.run(worker)) for process in processes]
    return {**about(), "pids": [s["pid"] for s in said]}


def missing() -> Seen:
    """A module that is not in the binary."""
    process = earlyfork.new().require("not_collected")
    try:
        process.ready(PATIENCE)
    except earlyfork.RemoteError as error:
        return {"error": str(error), "returncode": process.wait(PATIENCE)}
    return {"error": None}


def missing_function() -> Seen:
    """A module that is there, without the function."""
    process = earlyfork.new()
    process.run("only_named.no_such_function").close()
    returncode = process.wait(PATIENCE)
    return {"error": str(process.error), "returncode": returncode}


def dynload() -> Seen:
    """A C extension that nothing imports before the worker does."""
    process = earlyfork.new().require("_lsprof")
    return {
        "here": "_lsprof" in sys.modules,
        "there": answer(process.run("only_named.where_is_lsprof")),
        "returncode": process.wait(PATIENCE),
    }


def handles() -> Seen:
    """A file and a socket are sent; both are used there."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    with os.fdopen(write, "w") as pipe, theirs, ours:
        process = earlyfork.new().send_fh(pipe, theirs).send_arg("between").send_fh(write)
        process.run("only_named.use_handles").close()
    # `with` closed ours at once: what was sent was duplicated.
    returncode = process.wait(PATIENCE)
    with os.fdopen(read) as end:
        return {"pipe": end.read(), "returncode": returncode}


def environment() -> Seen:
    """`new(env=...)` is what user code sees there, whatever the launch itself needed."""
    seen = []
    for env in ({}, {"ONLY": "this"}):
        process = earlyfork.new(env=env, cwd="/").require("_lsprof")
        seen.append(answer(process.run("only_named.surroundings")))
    return {"seen": seen, "here": sorted(os.environ)}


def nested() -> Seen:
    """A worker makes a worker, which makes one."""
    process = earlyfork.new().send_arg(3)
    return {"said": answer(process.run("only_named.nest")), "returncode": process.wait(PATIENCE)}


def fresh() -> Seen:
    """`new_exec`: a fresh process each time."""
    said = []
    for _ in range(2):
        process = earlyfork.new_exec()
        said.append(answer(process.run("only_named.worker"))["pid"])
        assert process.wait(PATIENCE) == 0
    return {**about(), "pids": said}


def foreign(python: str) -> Seen:
    """A real interpreter, which gets earlyfork's half of it as text from the app."""
    code = "import json, sys\ndef tell(sock): sock.sendall(json.dumps(sys.executable).encode())"
    process = earlyfork.new_exec(executable=python).eval(code)
    return {"said": answer(process.run("tell")), "returncode": process.wait(PATIENCE)}


def handed_over() -> Seen:
    """A prepared process goes through a worker and comes back, with what was prepared in it."""
    prepared = earlyfork.new().require("only_named").eval("import sys; sys.mark = args[0]", 42)
    carrier = earlyfork.new().send_fh(prepared.to_fh())
    said = answer(carrier.run("only_named.carry"))
    return {"said": said, "returncode": carrier.wait(PATIENCE)}


def snapshot() -> Seen:
    """The program itself as a template; its function by bare name."""
    assert TEMPLATE is not None
    process = TEMPLATE.fork().send_arg("word")
    said = answer(process.run("bare"))
    return {"said": said, "pid": process.pid, "returncode": process.wait(PATIENCE)}


def statuses() -> Seen:
    """Processes that end in all ways."""
    calls = [("exit", 0), ("exit", 7), ("exit", 255), ("raise", 1), ("kill", -9), ("kill", -15)]
    processes = []
    for how, number in calls:
        process = earlyfork.new().send_arg(how, number)
        process.run("only_named.end").close()
        processes.append(process)
    return {"wanted": [n for _, n in calls], "got": [p.wait(PATIENCE) for p in processes]}


def commands() -> Seen:
    """What an external command sees that a worker starts."""
    process = earlyfork.new()
    seen = answer(process.run("only_named.what_commands_see"))
    shell = ["/bin/sh", "-c", "echo ${LD_LIBRARY_PATH-none}"]
    for options in ({}, {"linked": True}):
        done = command.run(shell, capture_output=True, text=True, check=True, **options)
        seen["run"].append(done.stdout.strip())
    return {**seen, "returncode": process.wait(PATIENCE)}


def outlive(how: str, result: str) -> Seen:
    """A worker that goes on after this program: preloaded, with an own directory, or neither."""
    if how == "own":
        env = {**os.environ, "PYINSTALLER_RESET_ENVIRONMENT": "1"}
        process = earlyfork.new_exec(executable=sys.executable, env=env)
    else:
        process = earlyfork.new()
    if how == "preloaded":
        process.require("_lsprof")
    home = sys._MEIPASS  # type: ignore[attr-defined]
    control = process.send_arg(result, home).run("only_named.outlive")
    control.settimeout(PATIENCE)
    return {**about(), "said": control.recv(5).decode()}


def moved() -> Seen:
    """The binary is moved away while it runs: from here on nobody can import from it."""
    basic()
    prepared = earlyfork.new().require("only_named").ready(PATIENCE)
    Path(sys.executable).rename(f"{sys.executable}.moved")
    said = answer(prepared.fork().run("only_named.worker"))
    late = earlyfork.new()
    late.run("only_named.worker").close()
    code = late.wait(PATIENCE)
    other = earlyfork.new().eval("def tell(sock): sock.sendall(b'1')")
    return {**about(), "said": said["pid"], "late": code, "other": answer(other.run("tell"))}


def refused() -> Seen:
    """Whether a process can be made, and if not, what is said."""
    try:
        return {"error": "", **basic()}
    except earlyfork.EarlyForkError as error:
        return {"error": str(error)}


def interrupted(ready: str) -> Seen:
    """Ctrl-C reaches everybody; this program goes on."""
    interrupts = []
    signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))
    worker = earlyfork.new()
    control = worker.run("only_named.until_eof")
    assert control.recv(5) == b"ready"
    leave({}, ready)
    sys.stdin.read()
    return {"worker": worker.wait(PATIENCE), "interrupts": bool(interrupts), **basic()}


def examined() -> Seen:
    """What the doctor says."""
    found = doctor.report()
    return json.loads(found.as_json())  # type: ignore[no-any-return]


def live(ready: str) -> Seen:
    """Keep one process of each kind until stdin ends or somebody kills us."""
    worker = earlyfork.new()
    control = worker.run("only_named.until_eof")
    assert control.recv(5) == b"ready"
    prepared = earlyfork.new().require("only_named").ready(PATIENCE)
    other = prepared.fork().ready(PATIENCE)
    pids = [worker.pid, prepared.pid, other.pid]
    leave({"main": os.getpid(), "pids": pids}, ready)
    sys.stdin.read()
    return {}


SCENARIOS = {
    function.__name__: function
    for function in (
        basic,
        chdir,
        commands,
        dynload,
        environment,
        examined,
        foreign,
        fresh,
        handed_over,
        handles,
        interrupted,
        live,
        missing,
        missing_function,
        moved,
        nested,
        outlive,
        refused,
        several,
        snapshot,
        statuses,
    )
}
