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
import sys
import time
import weakref
from typing import TYPE_CHECKING

from earlyfork import _handles, _linked, _platform
from earlyfork import _wire as wire
from earlyfork._channel import Channel
from earlyfork._children import (
    CLOEXEC,
    FdsLost,
    close_all,
    message_pair,
    status_pair,
    take_queued,
)
from earlyfork._errors import ProcessStateError, RemoteError, TemplateDied
from earlyfork._hot import quick
from earlyfork._names import check_dotted, pack_argument, pack_arguments, signal_name, target_name
from earlyfork._watch import Watch

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from earlyfork._context import Context

#: How many standbys a template in steady use keeps; EARLYFORK_STANDBY sets it.
DEFAULT_STANDBY = 2
MOST_STANDBY = 10_000

_tokens = itertools.count(1)
#: The batch that runs a function by its name and nothing else, for names seen before.
_run_batches: dict[str, bytes] = {}
#: All handles, by the fd of their status sockets: a number that is used again takes the place of a
#: handle that is gone, so the table is never longer than the table of fds.
_handles_by_fd: dict[int, weakref.ref[Process]] = {}


def living() -> list[Process]:
    """All handles there are."""
    found = (reference() for reference in list(_handles_by_fd.values()))
    return [process for process in found if process is not None]


def forget_everything() -> None:
    """In a snapshot: start without handles."""
    _handles_by_fd.clear()


class Process(Channel):
    """A new process: first prepared, then run. Made by `new`, `new_exec`, `fork`, not directly.

    Preparing methods return the process itself, take effect in the new process in the order of
    the calls, and never wait for it. Their errors there appear in `ready`, `error` and on stderr.
    After `run` the object is a handle on what runs.

    Modelled on AnyEvent::Fork's process object.
    """

    __module__ = "earlyfork"
    # Defaults on the class, since making a process must cost little.
    _root = False
    _target = ""
    _standby = -1  # not asked for yet
    _poll: select.poll | None = None
    _cloned = False
    _is_linked = False
    #: What must live as long as this handle: the root that a `new_exec` process came from.
    _keep: Process | None = None
    #: What a root template was made with.
    baseline: Context | None = None
    #: Whether the main program's own functions are there (a snapshot, or forked from one).
    has_main = False

    def __init__(self, comm: int, watch: Watch, origin: str) -> None:
        """Own `comm`, the near end of the process's socket."""
        super().__init__(comm, watch)
        #: "early", "exec", "snapshot" or "taken up".
        self.origin = origin
        _handles_by_fd[watch.fd] = weakref.ref(self)

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
        if watch.lost:
            return "lost" if self._state == wire.RUNNING else "gone"
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
        if not watch.over and not watch.foreign:
            watch.look()

    def is_over(self) -> bool:
        """Whether nothing more will be heard of it: ended, never made, lost or closed."""
        return self._watch.over

    # -- preparing ----------------------------------------------------------------------------

    def require(self, *modules: str) -> Process:
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

    def eval(self, code: str, *args: object) -> Process:
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

    def call(self, function: str | Callable[..., object], *args: object) -> Process:
        """Call a function there, by name (`pkg.mod.func`, `pkg.mod:obj.attr`) or as an object.

        Raises:
            TypeError, ValueError: not a callable's name, or a function that has none there.
            ProcessStateError: the process runs already, or is closed.
        """
        name = target_name(function, has_main=self.has_main)
        self._add(wire.CALL, wire.pack_values((name,)) + pack_arguments(args))
        self._flush()
        return self

    def send_fh(self, *files: object) -> Process:
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

    def send_arg(self, *values: object) -> Process:
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
            if self._state != wire.OPEN or (self._watch.foreign and not self._root):
                self._refuse(wire.FORK)
            if self._out:
                self._flush_locked()
            child = None
            if self._queue is not None and not self._watch.over:
                child = self._take_standby()
            if child is None and (self._watch.over or self.gone()):
                raise self._died()
            if child is None:
                child = self._request()
        self._cloned = True
        if self.has_main:
            child.has_main = True
        return child

    def _take_standby(self) -> Process | None:
        """A process that waits in the queue and is what this one is now."""
        while True:
            taken = self._next_in_queue()
            if taken is None:
                return None
            generation, pid, comm, status = taken
            if generation == self._generation:
                break
            os.close(comm)  # its other end sees this and exits
            os.close(status)
        if comm < 3 or status < 3 or not CLOEXEC:
            comm, status = _platform.own_fd(comm), _platform.own_fd(status)
        return Process(comm, Watch(status, pid, self._watch), self.origin)

    def _next_in_queue(self) -> tuple[int, int, int, int] | None:
        """What the next standby is made of; None if there is none, or the template is dead."""
        assert self._queue is not None
        try:
            if quick is None or self._watch.suspect or self._pidfd < 0:
                return None if self.gone() else take_queued(self._queue)
            found = quick.take(self._comm, self._pidfd, self._queue.fileno())
            if found == 0:
                raise EOFError
            if found == -1:
                raise FdsLost
            return found if type(found) is tuple else None
        except EOFError:  # the template died, or another process of the host has its queue now
            self._close_queue()
            return None
        except FdsLost as error:
            raise too_many_files("a process") from error

    def _died(self) -> TemplateDied:
        error = TemplateDied(f"nothing can be forked: {self._watch.epitaph()}")
        error.__cause__ = self._watch.error
        return error

    def _request(self) -> Process:
        """Ask for a process; the first time also for standbys."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

            def pair(ends: tuple[int, int]) -> tuple[int, int]:
                near, far = map(_platform.above_streams, ends)
                ours.callback(os.close, near)
                theirs.callback(os.close, far)
                self._in_flight |= {near, far}
                theirs.callback(self._landed, near, far)
                return near, far

            if self._standby < 0:
                self._standby = DEFAULT_STANDBY
            payload = b""
            queue = -1
            try:
                comm, far_comm = pair(_detached(_socket.socketpair()))
                status, far_status = pair(status_pair())
                fds = [far_comm, far_status]
                if self._standby and self._queue is None:
                    queue, far_queue = pair(_detached(message_pair()))
                    fds.append(far_queue)
                    payload = b"%d" % self._standby
            except OSError as error:
                raise OSError(error.errno, f"no process can be made: {error.strerror}") from error
            self._send(wire.batch(wire.frame(wire.FORK, payload), len(fds)), fds)
            if self._broken:
                raise self._died()
            ours.pop_all()
        if payload:
            self._queue = _socket.socket(fileno=queue)
        return Process(comm, Watch(status, None, self._watch), self.origin)

    def _landed(self, *fds: int) -> None:
        self._in_flight -= {*fds}

    def ready(self, timeout: float | None = None) -> Process:
        """Wait until all that was sent so far has been done there.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.

        Raises:
            RemoteError: code that was sent raised; carries the traceback from there.
            TimeoutError: it is not done yet. TemplateDied, OSError: the process was never made.
            ProcessStateError: the process runs already, or ended by itself.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        token = next(_tokens)
        self._add(wire.READY, b"%d" % token)
        self._flush()
        watch = self._watch
        if not watch.until(lambda: watch.said >= token or watch.error is not None, deadline):
            raise TimeoutError(f"{self!r} is not ready after {timeout} seconds")
        if watch.said >= token:  # answers come in order
            return self
        if watch.error is not None:
            raise watch.error
        if watch.returncode is not None:
            raise ProcessStateError(f"{self!r} ended before it was ready")
        raise watch.failure()

    # -- running ------------------------------------------------------------------------------

    def run(self, function: str | Callable[..., object], *, linked: bool = False) -> socket.socket:
        """Run a function there as the last thing that process does.

        It is called with the other end of the returned socket first, then all that was sent, in
        order. When it returns the process exits with status 0, SystemExit is honoured, any other
        exception is printed there and is status 1. All commands are sent when this returns.

        Args:
            function: `pkg.mod.func`, `pkg.mod:obj.attr`, a bare name of `__main__` there, or a
                function that can be found by its module and name.
            linked: end the process (SIGTERM, then SIGKILL) when this process ends; on Linux even if
                the template was killed before (SIGKILL at once).

        Returns:
            The blocking socket to the process. Its end of file says that the process is going.

        Raises:
            TypeError, ValueError: no such name, or a function that can't be found there.
            OSError: linked, and no fd to be had here.
            ProcessStateError: the process runs already, or is closed, or is a root template.

        From AnyEvent::Fork's `run`.
        """
        if type(function) is str and function in _run_batches:
            name = function
        else:
            name = target_name(function, has_main=self.has_main)
        if self._state != wire.OPEN or self._watch.foreign:
            self._refuse(wire.RUN)
        if self._root:
            raise ProcessStateError(f"{self!r} is a template and never runs anything; fork() it")
        if self._cloned:
            return self._run_clone(name, linked=linked)
        if linked or self._out:
            self._run_with_frames(name, linked=linked)
        else:
            self._send(run_batch(name), [])
        self._state = wire.RUNNING
        self._target = name
        return self._give_sock()

    def _run_with_frames(self, name: str, *, linked: bool) -> None:
        kind, fds = _linked.link(self._watch) if linked else (b"-", [])
        self._in_flight |= {*fds}
        try:
            self._add(wire.RUN, kind + name.encode(), *fds)
            self._flush()
        except BaseException:
            self._in_flight -= {*fds}
            _linked.unlink(self._watch)
            raise
        if linked:
            self._is_linked = True
            _linked.forget_dropped()

    def _run_clone(self, name: str, *, linked: bool) -> socket.socket:
        """Run in one more clone: this process stays behind, since only it can reap its clones."""
        clone = self.fork()
        sock = clone.run(name, linked=linked)
        self._give_sock().close()
        self._watch, self._state, self._target = clone._watch, clone._state, clone._target
        self._is_linked, clone._is_linked = clone._is_linked, False
        _handles_by_fd[self._watch.fd] = weakref.ref(self)
        return sock

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
        self._state = wire.HANDED
        return self._give_sock()

    # -- a handle on what runs ----------------------------------------------------------------

    def __enter__(self) -> Process:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watched(self) -> Watch:
        if self._watch.foreign:
            self._refuse(wire.READY)
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
        if self._queue is not None:
            with self._lock:  # a template stays as long as it has standbys that may be taken
                self._close_queue()
        if not watch.has_exited(timeout):
            hint = ", and was not run yet" if self._state == wire.OPEN else ""
            raise TimeoutError(f"{self!r} still lives after {timeout} seconds{hint}")
        _linked.forget(watch)
        code = watch.returncode
        assert code is not None
        if check and code:
            how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with status {code}"
            raise watch.error or RemoteError(f"{self!r} {how}")
        return code

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
        self._release()
        if self._is_linked and self._watch.may_live():
            _linked.drop(self._watch)
            self._watch = Watch(-1, self._watch.known_pid(), None)
        _linked.forget(self._watch)
        self._watch.close()
        self._state = wire.CLOSED

    def __del__(self, _down: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _down():
            self._release()
            if self._is_linked:
                _linked.drop(self._watch)
            return
        # At the interpreter's end the modules may be gone, and the kernel closes everything.
        for sock in (self._sock, self._queue):
            if sock is not None:
                sock.detach()

    @property
    def standby(self) -> int:
        """How many processes a template in steady use keeps forked ahead; set before `fork`."""
        return DEFAULT_STANDBY if self._standby < 0 else self._standby

    @standby.setter
    def standby(self, number: int) -> None:
        if not 0 <= number <= MOST_STANDBY:
            raise ValueError(f"standby is a number of processes up to {MOST_STANDBY}, not {number}")
        if self._queue is not None and number != self._standby:
            self._close_queue()
        self._standby = number

    # -- for _origin --------------------------------------------------------------------------

    def own_fds(self) -> set[int]:
        """Fds that are this object's, and nobody's leak."""
        found = {self._comm, self._pidfd, *self._in_flight, *(self._fds or ())}
        if self._queue is not None:
            found.add(self._queue.fileno())
        return found | self._watch.own_fds()

    def begin_anew(self, parent: int) -> None:
        """In the child of a host that forked itself, maybe while another thread was in here."""
        self._lock = _thread.RLock()
        self._poll = None  # for good in use, if that thread was polling
        self._watch.foreign = self._watch.foreign or parent
        unsent = {*self._in_flight}
        if not self._root:
            unsent |= {*(self._fds or ())}
            self._fds = None
        close_all(list(unsent))
        self._in_flight = frozenset()
        if not self._root:
            self._release()

    def gone(self) -> bool:
        """Whether this template is dead. Not for two threads at a time."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._comm, 0)
            if self._pidfd >= 0:
                self._poll.register(self._pidfd, select.POLLIN)
        if self._pidfd < 0 and (self._root or self._queue is not None):
            # A child that it was just forking may hold its socket open a moment longer.
            self.refresh()
            pid = self._watch.known_pid()
            if pid is not None and not self.is_over():
                self._pidfd = _platform.pidfd(pid)
                if self._pidfd >= 0:
                    self._poll.register(self._pidfd, select.POLLIN)
                self.refresh()  # not told to have ended: so the pid was still its own
            if self.is_over():
                return True
        if self._watch.suspect:  # it is being killed, maybe not all of its sockets are closed yet
            self._watch.suspect = False
            return bool(self._poll.poll(1000))
        return bool(self._poll.poll(0))

    def disown(self) -> None:
        """Forget fds that somebody else closed, whose numbers may be other files by now."""
        if self._sock is not None:
            self._sock.detach()
        if self._queue is not None:
            self._queue.detach()
        self._sock = self._queue = self._out = self._fds = None
        self._comm = self._pidfd = -1
        self._watch.take_fd()
        self._watch.line = -1
        self._state = wire.CLOSED


def run_batch(name: str) -> bytes:
    """The batch that runs a function and nothing else."""
    found = _run_batches.get(name)
    if found is None:
        found = wire.batch(wire.frame(wire.RUN, b"-" + name.encode()))
        if len(_run_batches) < 256:
            _run_batches[name] = found
    return found


def _detached(ends: tuple[_socket.socket, _socket.socket]) -> tuple[int, int]:
    return ends[0].detach(), ends[1].detach()


def too_many_files(what: str) -> OSError:
    """The error for fds that found no place here."""
    import errno

    return OSError(errno.EMFILE, f"too many open files in this process to make {what}")
