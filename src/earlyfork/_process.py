"""`Process`: prepare a new process, run something in it, and know how it ends.

The caller's half of the protocol. Knows nothing of where processes come from (see _origin) except
that a prepared one can be forked.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import itertools
import os
import select
import signal
import socket
import time
import weakref
from typing import TYPE_CHECKING

from earlyfork import _handles, _platform
from earlyfork import _wire as wire
from earlyfork._children import (
    DONTWAIT,
    NOSIGNAL,
    QUEUED,
    FdsLost,
    close_all,
    message_pair,
    receive,
    rights,
)
from earlyfork._errors import ProcessStateError, RemoteError, TemplateDied
from earlyfork._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from earlyfork._context import Context

#: How many standbys a template in steady use keeps; EARLYFORK_STANDBY sets it.
DEFAULT_STANDBY = 2
#: Commands wait for company until they are this long together.
FLUSH_FROM = 1 << 15
FLUSH_FDS = 64

_tokens = itertools.count(1)
#: All that are alive, for `status` and for the child of a host that forks itself.
living: weakref.WeakSet[Process] = weakref.WeakSet()
#: Watches of linked processes whose handle was dropped: closing them would end the process.
_linked: set[Watch] = set()


class Process:
    """A new process: first prepared, then run. Made by `new`, `new_exec`, `fork`, not directly.

    Preparing methods return the process itself, take effect in the new process in the order of
    the calls, and never wait for it. Their errors there appear in `ready`, `error` and on stderr.
    After `run` the object is a handle on what runs.

    Modelled on AnyEvent::Fork's process object.
    """

    __slots__ = (
        "__weakref__",
        "_broken",
        "_cloned",
        "_comm",
        "_fds",
        "_generation",
        "_keep",
        "_linked",
        "_lock",
        "_out",
        "_owner",
        "_poll",
        "_queue",
        "_root",
        "_size",
        "_standby",
        "_state",
        "_target",
        "_watch",
        "baseline",
        "has_main",
        "origin",
    )

    def __init__(self, comm: int, watch: Watch, origin: str, *, root: bool = False) -> None:
        """Own `comm`, the near end of the process's socket."""
        self._comm: socket.socket | None = socket.socket(
            _socket.AF_UNIX, _socket.SOCK_STREAM, 0, comm
        )
        self._watch = watch
        self._root = root
        self._state = wire.OPEN
        self._target = ""
        self._out: list[bytes] = []
        self._fds: list[int] = []
        self._size = 0
        self._generation = 0
        self._standby = -1  # not asked for yet
        self._queue: _socket.socket | None = None
        self._poll: select.poll | None = None
        self._cloned = False
        self._linked = False
        self._broken = False
        self._lock = _thread.allocate_lock()
        self._owner = os.getpid()
        #: What must live as long as this handle: the root that a `new_exec` process came from.
        self._keep: Process | None = None
        #: What a root template was made with.
        self.baseline: Context | None = None
        #: Whether the main program's own functions are there (a snapshot, or forked from one).
        self.has_main = False
        #: "early", "exec", "snapshot" or "taken up".
        self.origin = origin
        living.add(self)

    def __repr__(self) -> str:
        self.refresh()
        words = [str(self.known_pid() or "(pid not known yet)")]
        if self._target:
            words.append(self._target)
        return f"<Process {' '.join(words)}, {self.state}>"

    @property
    def state(self) -> str:
        """What is known without asking: "preparing", "template", "running", "exited 0" ..."""
        watch = self._watch
        if watch.returncode is not None:
            return f"exited {watch.returncode}"
        if watch.refused is not None:
            return "never made"
        if watch.lost and self._state != wire.HANDED and watch.fd >= 0:
            return "lost"
        if self._state == wire.OPEN:
            return "template" if self._root or self._cloned else "preparing"
        return self._state

    @property
    def name(self) -> str:
        """What it runs, or where it comes from."""
        return self._target or self.origin

    def known_pid(self) -> int | None:
        """The pid if the template has said it already."""
        return self._watch.known_pid()

    def refresh(self) -> None:
        """Take in what the template said; asks and waits for nothing."""
        watch = self._watch
        if watch.fd >= 0 and not watch.over and self._owner == os.getpid():
            watch.look()

    def is_over(self) -> bool:
        """Whether nothing more will be heard of it: ended, never made, lost or closed."""
        return self._watch.over

    # -- preparing ----------------------------------------------------------------------------

    def require(self, *modules: str) -> Self:
        """Import modules there.

        Raises:
            TypeError, ValueError: something is no module name; nothing was sent.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `require`.
        """
        for name in modules:
            check_dotted(name, "module name")
        for name in modules:
            self._add(wire.REQUIRE, name.encode())
        self._flush()
        return self

    def eval(self, code: str, *args: object) -> Self:
        """Run source text in the `__main__` namespace there, with the tuple `args` at hand.

        `args` exists during that code only; names that the code defines stay.

        Raises:
            SyntaxError: the code does not compile; nothing was sent.
            TypeError: an argument can't be pickled.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `eval`.
        """
        if not isinstance(code, str):
            raise TypeError(f"eval takes source text, not {type(code).__name__}")
        frame = _platform.caller(1)
        place = f"<eval from {os.path.basename(frame[0])}:{frame[1]}>"
        compile(code, place, "exec", dont_inherit=True)
        self._add(wire.EVAL, wire.pack_values((place, code)) + pack_arguments(args))
        self._flush()
        return self

    def call(self, function: str | Callable[..., object], *args: object) -> Self:
        """Call a function there, by name (`pkg.mod.func`, `pkg.mod:obj.attr`) or as an object.

        Raises:
            TypeError, ValueError: not a callable's name, or a function that has none there.
            ProcessStateError: the process runs already, or is closed.
        """
        name = target_name(function, has_main=self.has_main)
        self._add(wire.CALL, wire.pack_values((name,)) + pack_arguments(args))
        self._flush()
        return self

    def send_fh(self, *files: object) -> Self:
        """Pass open files to the function that will run, in the order sent.

        Each fd is duplicated now, so the caller may close its own at once. A socket arrives as a
        socket, a file object as one of the same mode, a multiprocessing Connection as one, an int
        as an int; all of them close-on-exec.

        Raises:
            ValueError: a file is closed or an fd not open; nothing was sent.
            TypeError: something has no fd.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `send_fh`.
        """
        self._may(wire.FD)
        if not _platform.can_send_fds:
            raise NotImplementedError("file handles can't be passed on this system")
        with contextlib.ExitStack() as unsent:
            found = []
            for file in files:
                fd, words = _handles.describe(file)
                unsent.callback(os.close, fd)
                found.append((fd, words))
            unsent.pop_all()
        for fd, words in found:
            self._add(wire.FD, words, fd)
        return self

    def send_arg(self, *values: object) -> Self:
        """Pass values to the function that will run, in the order sent.

        bytes and str travel as they are, anything else pickled.

        Raises:
            TypeError: a value can't be pickled; nothing was sent.
            ValueError: a value has more than 1 GiB.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `send_arg`.
        """
        self._may(wire.ARG_BYTES)
        for op, data in [pack_argument(value) for value in values]:
            self._add(op, data)
        return self

    def fork(self) -> Process:
        """A new process that is a clone of this one, with all that was prepared in it so far.

        Returns at once. What is sent to this one later is not in the clone. A template that is
        forked repeatedly keeps standby processes for it.

        Raises:
            TemplateDied: this process is gone; the text says what is known of its end.
            OSError: no fd to be had here.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `fork`.
        """
        with self._lock:
            if self._state != wire.OPEN or (self._owner != os.getpid() and not self._root):
                self._refuse(wire.FORK)
            if self._out:
                self._flush_locked()
            child = self._take_standby() if self._queue is not None else None
            if child is None:
                child = self._request()
        self._cloned = True
        child.has_main = self.has_main
        return child

    def _take_standby(self) -> Process | None:
        """A process that waits in the queue and is what this one is now."""
        queue = self._queue
        assert queue is not None
        while True:
            try:
                message, fds, _ = receive(queue, QUEUED.size, DONTWAIT)
            except BlockingIOError:
                return None
            except ConnectionResetError:  # the template died; what it queued comes after this
                continue
            except FdsLost as error:
                raise too_many_files("a process") from error
            if not message:
                return None
            generation, pid = QUEUED.unpack(message)
            if generation != self._generation:
                close_all(fds)  # its other end sees this and exits
                continue
            comm, status = fds if min(fds) > 2 else map(_platform.above_streams, fds)
            return Process(comm, Watch(status, pid, self._watch), self.origin)

    def _request(self) -> Process:
        """Ask for a process; the first time also for standbys."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

            def pair(make: Callable[[], tuple[_socket.socket, _socket.socket]]) -> tuple[int, int]:
                near, far = (_platform.above_streams(end.detach()) for end in make())
                ours.callback(os.close, near)
                theirs.callback(os.close, far)
                return near, far

            comm, far_comm = pair(_socket.socketpair)
            status, far_status = pair(_nonblocking_pair)
            fds = [far_comm, far_status]
            payload = b""
            if self._standby < 0:
                self._standby = DEFAULT_STANDBY
            if self._standby and self._queue is None:
                queue, far_queue = pair(message_pair)
                fds.append(far_queue)
                payload = b"%d" % self._standby
            self._send([wire.frame(wire.FORK, payload)], fds)
            if self._broken:
                self._watch.look()
                error = TemplateDied(f"nothing can be forked from a template that is gone: {self!r}")
                error.__cause__ = self._watch.error
                raise error
            ours.pop_all()
        if payload:
            self._queue = _socket.socket(fileno=queue)
        return Process(comm, Watch(status, None, self._watch), self.origin)

    def ready(self, timeout: float | None = None) -> Self:
        """Wait until all that was sent so far has been done there.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.

        Raises:
            RemoteError: code that was sent raised; carries the traceback from there.
            TimeoutError: it is not done yet. TemplateDied, OSError: the process was never made.
            ProcessStateError: the process runs already, or ended by itself.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        token = b"%d" % next(_tokens)
        self._add(wire.READY, token)
        self._flush()
        watch = self._watch
        while True:
            watch.look()
            if token in watch.said:
                watch.said.discard(token)
                return self
            if watch.error is not None:
                raise watch.error
            if watch.returncode is not None:
                raise ProcessStateError(f"{self!r} ended before it was ready")
            if watch.over:
                raise watch.failure()
            if not watch.sleep(deadline):
                raise TimeoutError(f"{self!r} is not ready after {timeout} seconds")

    # -- running ------------------------------------------------------------------------------

    def run(self, function: str | Callable[..., object], *, linked: bool = False) -> socket.socket:
        """Run a function there as the last thing that process does.

        It is called with the other end of the returned socket first, then all that was sent, in
        order. When it returns the process exits with status 0, SystemExit is honoured, any other
        exception is printed there and is status 1. All commands are sent when this returns.

        Args:
            function: `pkg.mod.func`, `pkg.mod:obj.attr`, a bare name of `__main__` there, or a
                function that can be found by its module and name.
            linked: end the process (SIGTERM, then SIGKILL) when this process ends.

        Returns:
            The blocking socket to the process. Its end of file says that the process is going.

        Raises:
            TypeError, ValueError: no such name, or a function that can't be found there.
            ProcessStateError: the process runs already, or is closed, or is a root template.

        From AnyEvent::Fork's `run`.
        """
        name = target_name(function, has_main=self.has_main)
        self._may(wire.RUN)
        if self._root:
            raise ProcessStateError(f"{self!r} is a template and never runs anything; fork() it")
        if self._cloned:
            return self._run_clone(name, linked=linked)
        owners = []
        if linked:
            pidfd = _platform.own_pidfd()
            owners = [pidfd] if pidfd >= 0 else []
        self._add(wire.RUN, (b"L" if linked else b"-") + name.encode(), *owners)
        self._flush()
        self._target = name
        self._linked = linked
        return self._give_comm()

    def _run_clone(self, name: str, *, linked: bool) -> socket.socket:
        """Run in one more clone: this process stays behind, since only it can reap its clones."""
        clone = self.fork()
        comm = clone.run(name, linked=linked)
        self._give_comm().close()
        self._watch, self._state, self._target = clone._watch, clone._state, clone._target
        return comm

    def _give_comm(self) -> socket.socket:
        comm = self._comm
        assert comm is not None
        self._comm = None
        self._close_queue()
        if self._state == wire.OPEN:
            self._state = wire.HANDED
        return comm

    def to_fh(self) -> socket.socket:
        """Hand over the prepared process: its socket is all that needs to travel.

        Another process takes it up with `new_from_fh`. This object is done with.

        Raises:
            ProcessStateError: the process runs already, or is closed, or is a root template.

        From AnyEvent::Fork's `to_fh`.
        """
        self._may(wire.ADOPT)
        if self._root:
            raise ProcessStateError(f"{self!r} is a template of this program; fork() it first")
        watch = self._watch
        # What keeps the forker interested travels with the process, in the process itself.
        self._add(wire.PARK, b"", watch.take_fd())
        self._flush()
        return self._give_comm()

    # -- a handle on what runs ----------------------------------------------------------------

    def _watched(self) -> Watch:
        if self._state in (wire.HANDED, wire.CLOSED):
            raise ProcessStateError(f"{self!r} is {self._state}: nothing more can be known of it")
        return self._watch

    @property
    def pid(self) -> int:
        """The process id. Waits, for a moment, if the template has not said it yet."""
        return self._watched().pid()

    def poll(self) -> int | None:
        """The return code, or None while the process lives; never waits.

        Raises:
            ProcessLost: nobody can know, since the template was killed.
        """
        watch = self._watched()
        return watch.returncode if watch.has_exited() else None

    def wait(self, timeout: float | None = None, *, check: bool = False) -> int:
        """Wait until the process is gone; return its exit status, or minus the signal's number.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.
            check: raise `error` instead of returning a status that is not 0.

        Raises:
            TimeoutError: it still lives.
            ProcessLost: its template was killed, so nobody can know.
            TemplateDied, OSError: there never was a process.
            RemoteError: with `check`, the process failed.
        """
        watch = self._watched()
        if not watch.has_exited(timeout):
            raise TimeoutError(f"{self!r} still lives after {timeout} seconds")
        assert watch.returncode is not None
        if check and watch.returncode:
            raise watch.error or RemoteError(f"{self!r} failed")
        return watch.returncode

    @property
    def returncode(self) -> int | None:
        """What `poll` or `wait` found last; None before."""
        return self._watch.returncode

    @property
    def error(self) -> RemoteError | None:
        """What code in the process raised, with its traceback, or None. Never waits."""
        if not self._watch.over:
            self._watch.look()
        return self._watch.error

    @property
    def sentinel(self) -> int:
        """An fd that becomes readable when the process is gone. Belongs to this object."""
        return self._watched().as_sentinel()

    def send_signal(self, number: int) -> None:
        """Send a signal; does nothing if the process is gone. Never reaches a recycled pid.

        Raises:
            ProcessLost: the template was killed, so the pid may be anybody's.
        """
        number = signal.Signals(number)
        watch = self._watched()
        if not watch.over:
            watch.signal(number)
        elif watch.lost:
            raise watch.failure()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go: a process that was not run yet exits with status 0, one that runs goes on."""
        if self._comm is not None:
            self._give_comm().close()
        close_all(self._fds)
        self._out.clear()
        self._let_go()
        self._watch.close()
        self._state = wire.CLOSED

    def _let_go(self) -> None:
        """Have a linked process that runs on without a handle watched until this process ends."""
        for watch in list(_linked):
            watch.look()
            if watch.over:
                _linked.discard(watch)
        if self._linked and not self._watch.over:
            _linked.add(self._watch)
            self._watch = self._watch.moved()

    def __del__(self) -> None:
        if getattr(self, "_linked", False) and self._owner == os.getpid():
            self._let_go()
        comm = getattr(self, "_comm", None)
        if comm is not None:
            comm.close()
            self._close_queue()
            close_all(self._fds)

    # -- sending ------------------------------------------------------------------------------

    def _may(self, op: int) -> None:
        if (self._state, op) not in wire.NEXT or self._owner != os.getpid():
            self._refuse(op)

    def _refuse(self, op: int) -> None:
        if self._owner != os.getpid():
            raise ProcessStateError(
                f"{self!r} belongs to process {self._owner}, which made it; make your own with new()"
            )
        what = "run again" if op == wire.RUN else "prepared or forked any more"
        raise ProcessStateError(f"{self!r} is {self._state} and can't be {what}")

    def _add(self, op: int, payload: bytes, *fds: int) -> None:
        """Queue one frame; its fds are owned from here on."""
        try:
            self._may(op)
        except ProcessStateError:
            close_all(list(fds))
            raise
        with self._lock:
            if op in wire.CHANGES:
                self._generation += 1
            bulk = b""
            if len(payload) >= wire.BULK_FROM and op != wire.FD:
                payload, bulk = b"", payload
            self._out.append(wire.frame(op, payload))
            self._size += len(payload)
            self._fds += fds
            self._state = wire.NEXT[self._state, op]
            if bulk or self._size > FLUSH_FROM or len(self._fds) > FLUSH_FDS:
                self._flush_locked(bulk)

    def _flush(self) -> None:
        if self._out:
            with self._lock:
                self._flush_locked()

    def _flush_locked(self, bulk: bytes = b"") -> None:
        out, fds = self._out, self._fds
        self._out, self._fds, self._size = [], [], 0
        try:
            self._send(out, fds, bulk)
        finally:
            close_all(fds)

    def _send(self, out: list[bytes], fds: list[int], bulk: bytes = b"") -> None:
        """Send one batch; a process that is gone misses it, and says elsewhere why it is gone."""
        comm = self._comm
        assert comm is not None
        head = wire.batch(b"".join(out), len(fds), len(bulk))
        parts = [head, bulk] if bulk else [head]
        try:
            sent = comm.sendmsg(parts, rights(fds) if fds else (), NOSIGNAL)
            if sent < len(head):
                comm.sendall(head[sent:], NOSIGNAL)
                sent = len(head)
            if bulk and sent < len(head) + len(bulk):
                comm.sendall(memoryview(bulk)[sent - len(head) :], NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            self._broken = True
        except BaseException:  # interrupted half-way: the other side would wait for the rest
            self._broken = True
            comm.shutdown(_socket.SHUT_RDWR)
            raise

    def _close_queue(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()  # standbys in it see their own sockets end

    @property
    def standby(self) -> int:
        """How many processes a template in steady use keeps forked ahead; set before `fork`."""
        return DEFAULT_STANDBY if self._standby < 0 else self._standby

    @standby.setter
    def standby(self, number: int) -> None:
        if number < 0:
            raise ValueError(f"standby is a number of processes, not {number}")
        if self._queue is not None and number != self._standby:
            self._close_queue()
        self._standby = number

    # -- for _origin --------------------------------------------------------------------------

    def gone(self) -> str:
        """For a root template: how it was lost ("died", "closed"), or an empty string."""
        if self._poll is None:
            assert self._comm is not None
            self._poll = select.poll()
            self._poll.register(self._comm, 0)
        return "died" if self._poll.poll(0) else ""


def _nonblocking_pair() -> tuple[_socket.socket, _socket.socket]:
    ours, theirs = _socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def too_many_files(what: str) -> OSError:
    """The error for fds that found no place here."""
    import errno

    return OSError(errno.EMFILE, f"too many open files in this process to make {what}")


# -- names and values ----------------------------------------------------------------------------


def check_dotted(name: object, what: str) -> None:
    """Refuse what is no dotted name.

    Raises:
        TypeError: not a str. ValueError: not identifiers and dots.
    """
    if not isinstance(name, str):
        raise TypeError(f"a {what} is a str, not {type(name).__name__}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name!r} is no {what}: identifiers joined by dots are")


def target_name(function: object, *, has_main: bool) -> str:
    """The name by which a function can be found in another process.

    Raises:
        TypeError: neither a name nor a function of a module.
        ValueError: a name that is none, or a function that another process can't find.
    """
    if isinstance(function, str):
        module, colon, path = function.partition(":")
        check_dotted(module, "function name")
        if colon:
            check_dotted(path, "function name")
        return function
    module = getattr(function, "__module__", None)
    path = getattr(function, "__qualname__", None)
    if not callable(function) or not module or not path:
        raise TypeError(
            f"a function of a module or its name is needed, not {function!r}; "
            "send other values with send_arg()"
        )
    if "<" in path:
        raise ValueError(
            f"{path} can't be found by name in another process: lambdas and functions inside "
            "functions exist only here; move it to the top level of a module"
        )
    if module == "__main__" and not has_main:
        raise ValueError(
            f"{path} is defined in the main program, which a clean process does not contain; "
            "move it to a module, or fork from a snapshot (earlyfork.template)"
        )
    import sys

    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise ValueError(f"{module}:{path} is not {function!r}: another process would find another")
    return f"{module}:{path}"


def pack_argument(value: object) -> tuple[int, bytes]:
    """One value as it travels.

    Raises:
        TypeError: it can't be pickled. ValueError: it is too long.
    """
    try:
        op, data = wire.pack_value(value)
    except Exception as error:
        raise TypeError(f"{type(value).__name__} can't be sent, since it can't be pickled: {error}") from error
    if len(data) > wire.MAX_BULK:
        raise ValueError(
            f"a value of {len(data)} bytes is more than the {wire.MAX_BULK} that can be sent; "
            "write it to the socket that run() returns"
        )
    return op, data


def pack_arguments(values: tuple[object, ...]) -> bytes:
    """The arguments of `eval` and `call`."""
    packed = [pack_argument(value) for value in values]
    body = b"".join(wire.frame(op, data) for op, data in packed)
    if len(body) > wire.MAX_BULK:
        raise ValueError(f"arguments of {len(body)} bytes are more than {wire.MAX_BULK}")
    return body
