"""What each frame does to the process that serves: the table OBEY.

Each function takes the server and the frame's payload. The function for RUN returns what is to be
run.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys

from earlyfork._child import guard, open_files
from earlyfork._child.ending import flush
from earlyfork._child.executing import execute
from earlyfork._child.files import revive
from earlyfork._child.habits import load_unpickler, prepare, warm_finders
from earlyfork._child.here import close_way_up, here, resolve, set_name, take_to_work, tell
from earlyfork._child.late_socket import socket_class
from earlyfork._child.rights import enter_root
from earlyfork._child.spawning import spawn
from earlyfork._shared import huge, payloads, wire
from earlyfork._shared.posix import close
from earlyfork._shared.sockets import Fds, name_senders, socket_on
from earlyfork._shared.surroundings import apply_env, apply_path, apply_stdio

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from functools import partial

    from earlyfork._child.server import Server
else:
    from _functools import partial  # `functools` would load `collections` and more


def _guarded(server: Server) -> Callable[[], None]:
    """While code that was sent runs, end this process when its owner ends; how to stop that."""
    told = any(op in guard.LASTING for op, _ in server.todo)
    end_guard = guard.begin(server.comm, needed=told or bool(server.kids.status))

    def stop() -> None:
        end_guard()
        server.kids.careful = server.grown = True
        flush()  # or each process that is forked from here would write the same again
        if server.kids.armed:
            open_files.settle()
            server.kids.listen()  # asyncio, among others, takes the wakeup fd away

    return stop


def _require(server: Server, payload: bytes) -> None:
    stop = _guarded(server)
    try:
        __import__(payload.decode())
    finally:
        stop()


def _eval(server: Server, payload: bytes) -> None:
    filename, source, *args = payloads.unpack_values(payload)
    code = compile(str(source), str(filename), "exec", dont_inherit=True)
    main = sys.modules["__main__"].__dict__
    hidden = {"args": main["args"]} if "args" in main else {}
    main["args"] = tuple(args)
    stop = _guarded(server)
    try:
        exec(code, main)
    except BaseException:
        import linecache  # so that the traceback shows the lines that were sent

        lines = str(source).splitlines(keepends=True)
        linecache.cache[str(filename)] = (len(str(source)), None, lines, str(filename))
        raise
    finally:
        stop()
        main.pop("args", None)
        main.update(hidden)


def _call(server: Server, payload: bytes) -> None:
    stop = _guarded(server)
    try:
        name, *args = payloads.unpack_values(payload)
        resolve(str(name))(*args)
    finally:
        stop()


def _compact(server: Server, _payload: bytes) -> None:
    stop = _guarded(server)  # 1 GB takes a second or more
    try:
        huge.compact(shared=True)
    finally:
        stop()
    server.grown = False


def _fd(server: Server, payload: bytes) -> None:
    here.pending.append(revive(server.fds.take(), payload))


def _value(op: int) -> Callable[[Server, bytes], None]:
    def take(_server: Server, payload: bytes) -> None:
        here.pending.append(payloads.unpack_value(op, payload))

    return take


def _habits(server: Server, payload: bytes) -> None:
    """Do here, or have standbys do, what the processes that are forked from here will do anyway.

    This is no change of what the process is: clones that were made before do the same by
    themselves. And whatever fails here is for them to report.
    """
    if payloads.UNPICKLE in payload:
        load_unpickler()
    if payloads.IMPORT in payload:
        warm_finders()
        here.also = partial(prepare, server)
    server.drop_nursery()


def _fork(server: Server, payload: bytes) -> None:
    asked = Fds((server.fds.take(), server.fds.take()))
    if server.fds:
        if server.kids.queue is not None:
            server.kids.queue.close()
        server.kids.queue = socket_on(server.fds.take())
    if payload:
        server.drop_nursery()
        server.kids.standby = payloads.unpack_number(payload)
    server.kids.waiting.clear()  # who asks by FORK has found the queue empty
    server.fork(asked)


def _queue(server: Server, payload: bytes) -> None:
    """In a nursery: make the standbys of the template that it stands in for."""
    server.be_forker()
    kids = server.kids
    kids.queue = socket_on(server.fds.take())
    kids.standby = payloads.unpack_number(payload)
    kids.plan_refill(0)


def _ready(_server: Server, payload: bytes) -> None:
    tell(wire.IS_READY, payload)


def _env(payload: bytes, _fds: Fds) -> None:
    apply_env(payloads.unpack_env(payload))


def _cwd(_payload: bytes, fds: Fds) -> None:
    fd = fds.take()
    os.fchdir(fd)
    close(fd)


def _chroot(_payload: bytes, fds: Fds) -> None:
    fd = fds.take()
    try:
        if not os.path.samestat(os.fstat(fd), os.stat("/")):
            enter_root(fd)
    finally:
        close(fd)


def _path(payload: bytes, _fds: Fds) -> None:
    apply_path(payload)


#: What obeys the frames about the surroundings, which change nothing of the server. Each function
#: is called with the payload and the fds of the batch, and takes the fds that belong to its frame.
SURROUND: dict[int, Callable[[bytes, Fds], None]] = {
    wire.ENV: _env,
    wire.CHROOT: _chroot,
    wire.CWD: _cwd,
    wire.PATH: _path,
    wire.STDIO: apply_stdio,
}


def _surround(op: int) -> Callable[[Server, bytes], None]:
    apply = SURROUND[op]
    return lambda server, payload: apply(payload, server.fds)


def _park(server: Server, _payload: bytes) -> None:
    """Hold the owner's end of the status socket while nobody owns this process.

    As long as that end is open, a forker that has nothing else to do does not go away.
    """
    server.parked.append(server.fds.take())
    tell(wire.PARK, b"")


def _adopt(server: Server, _payload: bytes) -> None:
    """Have the forker speak to the new owner, who counts from here on what changes this process.

    The end of the former owner travels along. If this process closed it, the forker could see the
    hang-up before it hears this message; one without an owner would then forget this process.
    """
    server.kids.generation = 0
    with Fds((server.fds.take(), *server.parked)) as fds:
        server.parked.clear()
        tell(wire.ADOPT, b"", fds)


def _link(fds: Fds, *, second_line: bool) -> None:
    """Have this process end with its owner: by its forker, or by the kernel if that is dead.

    If there is a second line, the first two fds are its ends. This process keeps the near end. The
    far end is held by the owner and, so that there is time to obey SIGTERM, by the forker. Here it
    is closed last: so if owner and forker end in between, that is not missed.
    """
    if second_line:
        here.line = fds.take()
        guard.fall_with(here.line)
    tell(wire.LINK, payloads.SECOND_LINE if second_line else b"", fds)
    fds.close()


def _run(
    server: Server, payload: bytes, rehearses: Iterable[int] | None = None
) -> Callable[[], object]:
    """Return what is to be run; in a rehearsal, with these signals blocked, and for the while."""
    name, link, alone = payloads.unpack_run(payload)
    if link != payloads.UNLINKED:
        _link(server.fds, second_line=link == payloads.SECOND_LINE)
    set_name(name)
    here.doing = name
    guard.discard_pending()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, rehearses or ())
    function = resolve(name)
    if alone:
        close_way_up()
        here.forker = -1
    elif rehearses is None and link == payloads.UNLINKED:  # else LINK has said so
        take_to_work()
    name_senders(server.comm, on=False)
    comm = socket_class()(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, server.comm.detach())
    values, here.pending = here.pending, []
    here.kind = "worker"
    return partial(function, comm, *values)  # in C: no frame of ours under the user's


def _spawn(server: Server, payload: bytes) -> None:
    """Execute a command beside a root template, whose rights it has: so it gives up none for it."""
    if not server.root:
        raise wire.ProtocolError("only a root template executes commands beside itself")
    spawn(server, payloads.unpack_exec(payload), server.senders)


def _exec(server: Server, payload: bytes) -> None:
    """Become a command, and do not return."""
    command = payloads.unpack_exec(payload)
    came = Fds(server.fds.take() for _ in range(command.fds))
    if command.link != payloads.UNLINKED:
        _link(server.fds, second_line=command.link == payloads.SECOND_LINE)
    execute(server, command, came)


OBEY: dict[int, Callable[..., Callable[[], object] | None]] = {
    wire.REQUIRE: _require,
    wire.EVAL: _eval,
    wire.CALL: _call,
    wire.FD: _fd,
    **{op: _value(op) for op in wire.ARGUMENTS},
    wire.FORK: _fork,
    wire.READY: _ready,
    wire.RUN: _run,
    wire.EXEC: _exec,
    wire.SPAWN: _spawn,
    **{op: _surround(op) for op in SURROUND},
    wire.ADOPT: _adopt,
    wire.PARK: _park,
    wire.QUEUE: _queue,
    wire.HABITS: _habits,
    wire.COMPACT: _compact,
}
