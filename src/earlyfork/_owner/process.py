"""`Process`: prepare a new process, run something in it, and know how it ends.

This is the public class and nothing else: what other parts of earlyfork need of it is in `inside`.
The class knows nothing of where processes come from, except that a prepared one can be forked. The
file is longer than others, since it is one class, and its docstrings are the reference.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import weakref
from typing import TYPE_CHECKING

from earlyfork._ground import platform, stack
from earlyfork._ground.errors import ProcessStateError, RemoteError
from earlyfork._owner import executing, standbys
from earlyfork._owner import linked as links
from earlyfork._owner.channel import Channel, sends_whole
from earlyfork._owner.files import describe
from earlyfork._owner.names import (
    check_dotted,
    join_arguments,
    pack_argument,
    signal_name,
    signal_number,
    target_name,
)
from earlyfork._owner.own import Own, Owns, open_directory
from earlyfork._owner.standbys import Standbys
from earlyfork._owner.waiting import Readiness
from earlyfork._owner.watch import Watch
from earlyfork._shared import payloads, wire
from earlyfork._shared.posix import Clock

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Concatenate, NoReturn, TypeAlias

    from earlyfork._context import Context

    #: What a process can run: a name, or a function that takes the socket first.
    Runnable: TypeAlias = str | Callable[Concatenate[socket.socket, ...], object]

_tokens = itertools.count(1)
#: The batch that runs a function by its name and nothing else, for names seen before.
_run_batches: dict[str, bytes] = {}
#: All handles, by the fd of their status sockets. When a number is used again, the new handle takes
#: the place of the one that is gone. So the table is never longer than the table of fds.
handles: dict[int, weakref.ref[Process]] = {}


class Process(Channel):
    """A new process: first prepared, then run. Made by `new`, `new_exec`, `fork`, not directly.

    Methods that prepare return the process itself. They take effect in the new process in the order
    of the calls, and never wait for it. Their errors there appear in `ready`, `error` and on
    stderr. After `run` the object is a handle on what runs.

    Modelled on AnyEvent::Fork's process object.
    """

    __module__ = "earlyfork"
    # Defaults on the class, since making a process must cost little.
    _target = ""
    _standby = -1  # not asked for yet
    _cloned = False
    _standbys: Standbys | None = None  # made at the first fork
    _is_linked = False
    _told: frozenset[int] = frozenset()  # the habits of its clones that this template knows
    #: Of a process that was told to become a command.
    _execution: executing.Execution | None = None
    #: This must live as long as this handle: the root that a `new_exec` process came from.
    _keep: Process | None = None
    #: Of a root template: the surroundings that it was made with.
    _baseline: Context | None = None
    #: Of a root template: its limits, niceness and CPUs, when a command was first asked for.
    _standing: object = None
    #: The main program's own names, if they are there.
    _main: dict[str, object] | None = None

    def __init__(self, comm: Own, watch: Watch, origin: str) -> None:
        """Own `comm`, the near end of the process's socket."""
        super().__init__(comm, watch)
        #: "early", "exec", "snapshot" or "taken up".
        self.origin = origin
        handles[watch.fd] = weakref.ref(self)

    def __repr__(self) -> str:
        self._watch.refresh()
        words = [str(self._watch.known_pid() or "(pid not known yet)")]
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
            return "template" if self._cloned else "preparing"
        return self._state

    @property
    def name(self) -> str:
        """The function that the process runs, or else the origin of the process."""
        return self._target or self.origin

    @property
    def has_main(self) -> bool:
        """Whether the main program's own functions are there (a snapshot, or forked from one)."""
        return self._main is not None

    @property
    def is_far(self) -> bool:
        """Whether the process is on another machine: no files can be passed to it."""
        return self._watch.is_far

    @property
    def trusted(self) -> bool:
        """Whether what the process sends may be unpickled: false for another machine's, unasked."""
        return self._watch.is_trusted

    def _refuse_far(self, what: str) -> None:
        if self._watch.is_far:
            raise ProcessStateError(
                f"{what} to another machine, which {self!r} is on: only bytes travel there. Send "
                "what is in the file, or have the code there open one"
            )

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
        self._note(payloads.IMPORT)
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
        file, line = stack.caller(1)
        place = f"<eval from {os.path.basename(file)}:{line}>"
        compile(code, place, "exec", dont_inherit=True)
        sent = join_arguments(self._packed(args))
        self._add(wire.EVAL, payloads.pack_values((place, code)) + sent)
        self._note(payloads.IMPORT)
        self._flush()
        return self

    def call(self, function: str | Callable[..., object], *args: object) -> Process:
        """Call a function there, by name (`pkg.mod.func`, `pkg.mod:obj.attr`) or as an object.

        Raises:
            TypeError, ValueError: `function` is no name of a callable, or an object that can't be
                found by a name there; or an argument can't be pickled.
            ProcessStateError: the process runs already, or is closed.
        """
        name = target_name(function, self._main)
        sent = join_arguments(self._packed(args))
        self._add(wire.CALL, payloads.pack_values((name,)) + sent)
        self._note(payloads.IMPORT)
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
            ProcessStateError: the process runs already, or is closed, or is on another machine.

        From AnyEvent::Fork's `send_fh`.
        """
        self._may(wire.FD)
        if not platform.can_send_fds:
            raise NotImplementedError("file handles can't be passed on this system")
        self._refuse_far("no files can be passed")
        for words, duplicate in [describe(file) for file in files]:
            self._add(wire.FD, words, (duplicate,))
        return self

    def send_arg(self, *values: object) -> Process:
        """Pass values to the function that will run, in the order sent.

        Values of Python's own types, and containers of them, are as fast as bytes. Anything else is
        pickled; a template whose clones are sent such a value twice has the unpickler loaded.

        Raises:
            TypeError: a value can't be pickled; nothing was sent.
            ValueError: a value has more than 1 GiB.
            ProcessStateError: the process runs already, or is closed.

        From AnyEvent::Fork's `send_arg`.
        """
        self._may(wire.ARG_BYTES)
        for op, data in self._packed(values):
            self._add(op, data)
        return self

    def _packed(self, values: tuple[object, ...]) -> list[tuple[int, bytes]]:
        """The values as they travel; notes whether they have to be unpickled."""
        packed = [pack_argument(value) for value in values]
        if any(op == wire.ARG_PICKLE for op, _ in packed):
            self._note(payloads.UNPICKLE)
        return packed

    def _note(self, habit: int) -> None:
        """Note of this process's template what its clones do, if that is news."""
        forker = self._watch._forker
        if forker is not None and habit not in forker.habits:
            forker.habits |= {habit}

    def compact(self) -> Process:
        """Put the memory there into huge pages, so that a fork of it costs little.

        For a template with hundreds of megabytes that is forked again and again. It takes about a
        second for each GB; what is sent later waits for that. A process that is prepared and then
        left alone for a moment does this by itself, as far as it shares its memory with nobody.
        Asked by this method, it also does so with memory that it shares, with the main program if
        it is a snapshot, or with processes that were forked from it: these keep the old pages, so
        that memory is there twice until they end.

        Where the kernel can't do it nothing happens; `status()` says why.

        Raises:
            ProcessStateError: the process runs already, or is closed.
        """
        self._add(wire.COMPACT, b"")
        self._flush()
        with self._lock:
            if self._standbys is not None:  # they hold the old pages, and nobody will take them
                self._standbys.close_queue()
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
            if self._state != wire.ROOT:  # which the children of the host may fork as well
                self._may(wire.FORK)
            if self._watch.habits != self._told and not self._watch.foreign:
                self._told = self._watch.habits
                self._add(wire.HABITS, bytes(sorted(self._told)))
            if self._out:
                self._flush_locked()
            found = self._standbys
            if found is None:
                found = self._begin_standbys()
            comm, watch = found.next(self)
        child = Process(comm, watch, self.origin)
        self._cloned = True
        if self._main is not None:
            child._main = self._main
        return child

    def _begin_standbys(self) -> Standbys:
        if self._watch.is_far:  # its standbys are kept over there
            self._standbys = Standbys(0, 0)
            return self._standbys
        most = standbys.MOST_FOR_BURSTS if self._standby < 0 else 0
        self._standbys = Standbys(self.standby, most)
        return self._standbys

    def _close_standbys(self) -> None:
        found = self._standbys
        if found is not None:
            if not self._is_ours():
                found.detach()  # a pidfd can't tell whether it is still its own
            self._standbys = None

    def _release(self) -> None:
        self._close_standbys()
        super()._release()

    def ready(self, timeout: float | None = None) -> Process:
        """Wait until all that was sent so far has been done there.

        After `exec`: until the process has become the command.

        Args:
            timeout: seconds to wait at most; None waits for as long as it takes.

        Raises:
            RemoteError: code that was sent raised; carries the traceback from there.
            TimeoutError: it is not done yet.
            TemplateDied, OSError: the process was never made; or it could not become the command.
            ProcessLost: the process's template was killed, so nobody can know.
            ProcessStateError: the process runs already, or ended by itself.
        """
        deadline = None if timeout is None else Clock.monotonic() + timeout
        token = self._ask_ready() if self._execution is None else 0
        if not self._is_ready(token, deadline):
            what = "not ready" if self._execution is None else "no command yet"
            raise TimeoutError(f"{self!r} is {what} after {timeout} seconds")
        return self

    def when_ready(self) -> Readiness:
        """Ask for what `ready` waits for, and go on: for event loops, which wait at fds.

        Returns:
            An object with `fileno()`, an fd to wait at until it is readable, and `done()`, which
            says whether all that was sent so far has been done, and raises what `ready` raises.

        Raises:
            ProcessStateError: as `ready`.
        """
        token = self._ask_ready() if self._execution is None else 0
        return Readiness(self._told_at, lambda: self._is_ready(token, Clock.monotonic()))

    def _told_at(self) -> int:
        """The fd at which what `ready` waits for is told."""
        if self._execution is not None and not self._execution.over() and self._comm >= 0:
            return self._comm
        return self._watched().fd

    def _is_ready(self, token: int, deadline: float | None) -> bool:
        """Wait until this sign has come back; False at the deadline. Raises as `ready` does."""
        if self._execution is not None:
            return executing.wait_for(self, self._execution, deadline)
        watch = self._watch
        if not watch.until(lambda: watch.said >= token or watch.error is not None, deadline):
            return False
        if watch.said >= token:  # answers come in order
            return True
        if watch.error is not None:
            raise watch.error
        if watch.returncode is not None:
            raise ProcessStateError(f"{self!r} ended before it was ready")
        raise watch.failure()

    def _ask_ready(self) -> int:
        """Ask for a sign that all has been done so far: a number, returned here, comes back."""
        token = next(_tokens)
        self._add(wire.READY, payloads.pack_number(token))
        self._flush()
        return token

    # -- running ------------------------------------------------------------------------------

    def run(
        self, function: Runnable, *, linked: bool = False, alone: bool = False
    ) -> socket.socket:
        """Run a function there as the last thing that process does.

        It is called with the other end of the returned socket first, then all that was sent, in
        order. When it returns the process exits with status 0, SystemExit is honoured, any other
        exception is printed there and is status 1. All commands are sent when this returns.

        Args:
            function: `pkg.mod.func`, `pkg.mod:obj.attr`, a bare name of `__main__` there, or a
                function that can be found by its module and name.
            linked: end the process (SIGTERM, then SIGKILL) when this process ends; on Linux even if
                the template was killed before (SIGKILL at once).
            alone: close the way to its template before the function runs: no `new()` there, and
                nothing else is asked for or said. For workers that are about to be confined, or
                that run code which is not trusted. What it raises shows on stderr and by its
                status; `error` stays None.

        Returns:
            The socket to the process, which blocks unless a default timeout was set. Its end of
            file says that the process is going.

        Raises:
            TypeError, ValueError: `function` is no name, or an object that can't be found there.
            OSError: `linked`, and no fd to be had here.
            ProcessStateError: the process runs already, or is closed, or is a root template.

        From AnyEvent::Fork's `run`.
        """
        if type(function) is str and function in _run_batches:
            name = function
        else:
            name = target_name(function, self._main)
        after = self._may(wire.RUN)
        forker = self._watch._forker
        if forker is not None and forker.is_bare:
            self._note(payloads.IMPORT)
        if self._cloned:
            return self._run_clone(name, linked=linked, alone=alone)
        sent: list[int] = []
        sock = self._give_sock() if sends_whole() else None
        try:
            if linked or alone or self._out:
                self._run_with_frames(name, sock, sent, linked=linked, alone=alone)
            else:
                self._send(run_batch(name), sock=sock, into=sent)
            if sock is None:
                sock = self._give_sock()
            self._state = after
            self._target = name
            return sock
        except BaseException:
            if sent or self._broken:  # interrupted: it runs, and sees the end of its socket
                self._state = after
                self._target = name
                if sock is not None:
                    sock.close()
                self._end.close()
            elif sock is not None:
                self._end.make(sock.detach)
            raise

    def _run_with_frames(
        self, name: str, sock: socket.socket | None, sent: list[int], *, linked: bool, alone: bool
    ) -> None:
        fds = Owns()
        kind = payloads.UNLINKED
        try:
            with self._lock:
                if linked:
                    self._in_flight += (weakref.ref(fds),)
                    kind = links.link(self._watch, fds)
                run = wire.frame(wire.RUN, payloads.pack_run(name, kind, alone=alone))
                self._flush_locked(b"", ((run, fds),), sock, sent)
        finally:
            for end in fds:
                end.close()
            if linked and sent:
                self._is_linked = True
            elif linked:
                links.unlink(self._watch)
        if linked:
            links.forget_dropped()

    def _run_clone(self, name: str, *, linked: bool, alone: bool) -> socket.socket:
        """Run in one more clone: the process itself stays, since only it can reap its clones."""
        clone = self.fork()
        sock = clone.run(name, linked=linked, alone=alone)
        self._close_standbys()
        self._release()
        self._become(clone)
        return sock

    def _become(self, clone: Process) -> None:
        """Go on as the handle on a clone that runs."""
        self._watch, self._state, self._target = clone._watch, clone._state, clone._target
        self._is_linked, clone._is_linked = clone._is_linked, False
        self._end, self._execution = clone._end, clone._execution
        clone._end, clone._watch = Own(), Watch()
        handles[self._watch.fd] = weakref.ref(self)

    def exec(  # noqa: PLR0913 - a command has as many parts
        self,
        argv: Sequence[executing.Text] | executing.Text,
        *,
        stdin: object = None,
        stdout: object = None,
        stderr: object = None,
        pass_fds: Sequence[int] = (),
        executable: executing.Text | None = None,
        linked: bool = False,
        env: Mapping[Any, Any] | None = None,
        cwd: executing.Text | None = None,
        umask: int = -1,
        start_new_session: bool = False,
        prepare: object = None,
    ) -> Process:
        """Become a command, as the last thing that process does.

        It has the defaults of all signals, and no fds but its streams and those listed. Returns as
        soon as that is asked for: whether the command could be executed is told by `ready()` and
        `wait(check=True)`. If not, the process ends with status 127.

        Args:
            argv: the command's words, or one word.
            stdin: file or fd that the command gets as this stream; `subprocess.DEVNULL`; None: that
                of the process.
            stdout: the same.
            stderr: the same.
            pass_fds: fds, or files, that the command finds under the same numbers.
            executable: the file, if it is not the first word. One without a slash is looked for in
                the PATH that the command gets.
            linked: end it when this process ends, as in `run`. On Linux that costs the command one
                more open fd.
            env: its whole environment; None: that of the process. In a frozen app it gets the
                library path that was there before the app, either way.
            cwd: its working directory; None: that of the process.
            umask: its umask; below 0: that of the process.
            start_new_session: have it lead a session of its own.
            prepare: a function, or its name, or a tuple of that and its arguments, called there
                last, with streams and fds in place; or a list of these.

        Returns:
            The process itself, which goes on as a handle on the command.

        Raises:
            TypeError, ValueError: this is no command, or one of the files none.
            OSError: no fd to be had here, or no such `cwd`.
            ProcessStateError: the process runs already, or is closed, or is a root template.

        AnyEvent::Fork leaves this to Proc::FastSpawn.
        """
        command, file = executing.command_of(argv, executable, env)
        if self._watch.is_far:
            self._refuse_far_files((stdin, stdout, stderr), pass_fds, cwd)
        if prepare is not None:
            steps: list[object] = []
            for step in prepare if isinstance(prepare, list) else [prepare]:
                function, *values = step if isinstance(step, tuple) else (step,)
                steps += (target_name(function, self._main), tuple(values))
            command.prepare = join_arguments(self._packed(tuple(steps)))
        command.umask, command.session = umask, start_new_session
        after = self._may(wire.EXEC)
        folder = None if cwd is None else open_directory(cwd)
        if not platform.can_send_fds:
            raise NotImplementedError("file handles can't be passed on this system")
        target = self.fork() if self._cloned else self
        fds = executing.add_fds(command, (stdin, stdout, stderr), folder, pass_fds)
        sent: list[int] = []
        try:
            executing.send(target, command, fds, sent, linked=linked)
        finally:
            if sent or target._broken:
                target._execution = executing.Execution(file, cwd)
                target._is_linked = linked and bool(sent)
                target._state, target._target = after, os.fsdecode(command.file.rpartition(b"/")[2])
        if target is not self:
            self._close_standbys()
            self._release()
            self._become(target)
        return self

    def _refuse_far_files(
        self, streams: tuple[object, ...], pass_fds: Sequence[int], cwd: object
    ) -> None:
        if any(stream not in (None, executing.DEVNULL) for stream in streams) or pass_fds:
            self._refuse_far("a command's files can't be passed")
        if cwd is not None:
            self._refuse_far("a directory can't be passed (prepare=(os.chdir, path) names one)")

    def to_fh(self) -> socket.socket:
        """Hand over the prepared process: its socket is all that needs to travel.

        Another process takes it up with `new_from_fh`. This object can't be used any more.

        Returns:
            The socket, to be sent to another process.

        Raises:
            ProcessStateError: the process runs already, or is closed, or is a root template.

        From AnyEvent::Fork's `to_fh`.
        """
        after = self._may(wire.PARK)
        if self._watch.is_far:
            raise ProcessStateError(
                f"{self!r} is on another machine, and can't be handed over: this program's "
                "connection goes there; let the other process connect by itself"
            )
        # What keeps the forker interested travels with the process, in the process itself.
        self._add(wire.PARK, b"", (self._watch.give_fd(),))
        self._flush()
        self._state = after
        self._close_standbys()
        return self._give_sock()

    # -- a handle on what runs ----------------------------------------------------------------

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError(
            "a Process can't be copied or pickled, since two handles would close the same fds; "
            "to_fh() hands a prepared one over, and fork() makes another one"
        )

    def __enter__(self) -> Process:  # noqa: PYI034 - typing has Self from 3.11 on
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watched(self) -> Watch:
        if self._watch.foreign:
            raise self._refusal(wire.READY)
        if self._state in (wire.HANDED, wire.CLOSED):
            raise ProcessStateError(f"{self!r} is {self._state}: nothing more can be known of it")
        return self._watch

    @property
    def pid(self) -> int:
        """The process id. Waits, for a moment, if the template has not said it yet.

        Raises:
            TemplateDied, OSError: there never was a process.
        """
        return self._watched().pid()

    def poll(self) -> int | None:
        """The exit status, or minus the signal's number; None while the process lives. Never waits.

        Raises:
            ProcessLost: nobody can know, since the template was killed.
            TemplateDied, OSError: there never was a process.
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
            ProcessStateError: it was not run, and without a timeout this would never end.
            ProcessLost: its template was killed, so nobody can know.
            TemplateDied, OSError: there never was a process.
            RemoteError: with `check`, the process failed.
        """
        watch = self._watched()
        if self._standbys is not None:
            with self._lock:  # a template stays as long as it has standbys that may be taken
                self._standbys.close_queue()
        if timeout is None and self._state in (wire.OPEN, wire.ROOT):
            self._refuse_endless_wait()
        if not watch.has_exited(timeout):
            hint = ", and was not run yet" if self._state == wire.OPEN else ""
            raise TimeoutError(f"{self!r} still lives after {timeout} seconds{hint}")
        links.forget(watch)
        code = watch.returncode
        assert code is not None
        if check and code:
            error = watch.error if code != payloads.NOT_EXECUTED else self._why_not()
            how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with status {code}"
            raise error or RemoteError(f"{self!r} {how}")
        return code

    def _why_not(self) -> Exception | None:
        """What stood in the way of a process whose status may say that it is no command."""
        execution = self._execution
        if execution is None or not executing.hear(self, execution, None):
            return self._watch.error
        return executing.why_not(self, execution)

    def _refuse_endless_wait(self) -> None:
        """A process that nobody runs does not end, unless it failed or is killed."""
        token = self._ask_ready()
        watch = self._watch
        watch.until(lambda: watch.said >= token or watch.over, None)
        if watch.said >= token and not watch.over:
            raise ProcessStateError(
                f"{self!r} was not run, so it would never end: run() or close() it before, or wait "
                "with a timeout"
            )

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal's number, as far as it has been heard; else None."""
        return self._watch.returncode

    @property
    def error(self) -> RemoteError | None:
        """What code in the process raised, with its traceback, or None. Never waits."""
        if not self._watch.over:
            self._watch.look()
        return self._watch.error

    @property
    def sentinel(self) -> int:
        """An fd that becomes readable when the process is gone. The fd belongs to this object."""
        return self._watched().as_sentinel()

    def send_signal(self, number: int) -> None:
        """Send a signal; does nothing if the process is gone. Never reaches a recycled pid.

        Raises:
            ProcessLost: nobody speaks for it any more, and the pid may be anybody's.
            ProtocolError: it was taken up, and the pid that was told is somebody else's.
        """
        number = signal_number(number)
        watch = self._watched()
        if watch.lost or not watch.over:
            watch.signal(number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of the process: if it was not run yet it exits with status 0, else it goes on."""
        self._release()
        if self._is_linked and self._watch.may_live():
            links.drop(self._watch)
            self._watch = Watch()
            self._watch.disown()
        links.forget(self._watch)
        self._watch.close()
        self._state = wire.NEXT[self._state, wire.CLOSE]

    def __del__(self, _down: Callable[[], bool] = sys.is_finalizing) -> None:
        if not _down():
            self._release()
            # Not there if an exception came while it was made. And no look at `__dict__`: where
            # the collector calls this, a new dict would keep everything until it comes again.
            watch = getattr(self, "_watch", None)
            if watch is not None:
                if self._is_linked:
                    links.drop(watch)
                else:
                    watch.let_go()
            return
        # At the interpreter's end the modules may be gone, and the kernel closes everything.
        if self._standbys is not None:
            self._standbys.detach()

    @property
    def standby(self) -> int:
        """How many processes a template in steady use keeps forked ahead; set before `fork`.

        Unless it is set, bursts raise it for a while, up to 16. 0 means none at all.
        """
        return standbys.DEFAULT_STANDBY if self._standby < 0 else self._standby

    @standby.setter
    def standby(self, number: int) -> None:
        most = standbys.MOST_STANDBY
        if not 0 <= number <= most:
            raise ValueError(f"standby is a number of processes up to {most}, not {number}")
        if self._standbys is not None:
            self._standbys.keep(number)
        self._standby = number


def run_batch(name: str) -> bytes:
    """The batch that runs a function and nothing else."""
    found = _run_batches.get(name)
    if found is None:
        found = wire.batch(wire.frame(wire.RUN, payloads.pack_run(name)))
        if len(_run_batches) < 256:
            _run_batches[name] = found
    return found
