"""`Popen` and `run`: subprocess's own, but for how the process is made and waited for.

What reads and writes pipes, decodes text and keeps time is subprocess's code. Only the methods that
make a process, wait for it and signal it are replaced.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from operator import index
from posix import close
from subprocess import PIPE, CalledProcessError, CompletedProcess, SubprocessError, TimeoutExpired
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork.command import pseudo_terminal, there

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import IO

    Text = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_REFUSED = f"{there.Refused.__module__}.{there.Refused.__qualname__}"


#: The system has no larger numbers for users and groups.
_HIGHEST_ID = (1 << 32) - 1


class Popen(subprocess.Popen[Any]):
    """A command, with subprocess.Popen's surface.

    Attributes:
        process: the `earlyfork.Process` that became the command.
    """

    process: earlyfork.Process
    pid: int
    stdin: IO[Any] | None
    stdout: IO[Any] | None
    _child_created = False
    _master: int | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - subprocess's, and some more
        self,
        args: Sequence[Text] | Text,
        bufsize: int = -1,
        executable: Text | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        preexec_fn: None = None,
        close_fds: bool = True,  # noqa: FBT001, FBT002 - subprocess's signature
        shell: bool = False,  # noqa: FBT001, FBT002
        cwd: Text | None = None,
        env: Mapping[Any, Any] | None = None,
        universal_newlines: bool | None = None,  # noqa: FBT001
        startupinfo: None = None,
        creationflags: int = 0,
        restore_signals: bool = True,  # noqa: FBT001, FBT002
        start_new_session: bool = False,  # noqa: FBT001, FBT002
        pass_fds: Collection[int] = (),
        *,
        user: str | int | None = None,
        group: str | int | None = None,
        extra_groups: Sequence[str | int] | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        umask: int = -1,
        pipesize: int = -1,
        process_group: int | None = None,
        pty: bool = False,
        limits: Mapping[int, tuple[int, int]] | None = None,
        nice: int | None = None,
        affinity: Collection[int] | None = None,
        prepare: str | Callable[[], object] | None = None,
        linked: bool = False,
    ) -> None:
        """Start a command. What is not told here is as in `subprocess`.

        Args:
            args: the command.
            bufsize: as there.
            executable: as there.
            stdin: as there.
            stdout: as there.
            stderr: as there.
            preexec_fn: refused: use `prepare`.
            close_fds: False passes on all fds that are inheritable here, as there.
            shell: as there.
            cwd: as there.
            env: as there.
            universal_newlines: as there.
            startupinfo: as there.
            creationflags: as there.
            restore_signals: the command always has the defaults of all signals; False is refused.
            start_new_session: as there.
            pass_fds: as there.
            user: as there.
            group: as there.
            extra_groups: as there.
            encoding: as there.
            errors: as there.
            text: as there.
            umask: as there.
            pipesize: as there.
            process_group: as there, on all versions.
            pty: run it on a terminal of its own: `stdin` and `stdout` are our end of that, and its
                stderr goes there too, unless `stderr` says otherwise.
            limits: soft and hard limits, by `resource.RLIMIT_...`.
            nice: its niceness.
            affinity: the CPUs that it may run on.
            prepare: a function, or its name, that is called in the new process last, with one
                thread and everything in place.
            linked: end it with this program, and with it all that it starts.

        Raises:
            OSError: as there.
            SubprocessError: what `prepare` names has raised, which is the cause of this.
            TypeError, ValueError: as there.
        """
        if preexec_fn is not None:
            raise ValueError(
                "preexec_fn can't be passed on to another process; prepare= names a function of a "
                "module, which runs there with one thread"
            )
        if not restore_signals:
            raise ValueError("a command always gets the defaults of all signals")
        if pty and not (stdin is stdout is None):
            raise ValueError("with pty=True stdin and stdout are the terminal's")
        self._asked: dict[str, Any] = {"prepare": prepare, "linked": linked}
        self._settings: dict[str, Any] = {}
        if pty:
            self._settings["terminal"] = True
        if process_group not in (None, -1):
            self._settings["process_group"] = index(process_group)
        if limits:
            self._settings["limits"] = [_limit(number, limits[number]) for number in limits]
        if nice is not None:
            self._settings["nice"] = index(nice)
        if affinity is not None:
            self._settings["affinity"] = [index(cpu) for cpu in affinity]
        if pty:
            self._master, self._slave = os.openpty()
            start_new_session = True
        try:
            super().__init__(
                args,
                bufsize,
                executable,
                stdin,
                stdout,
                stderr,
                None,
                close_fds,
                shell,
                cwd,
                env,
                universal_newlines,
                startupinfo,
                creationflags,
                True,
                start_new_session,
                pass_fds,
                user=user,
                group=group,
                extra_groups=extra_groups,
                encoding=encoding,
                errors=errors,
                text=text,
                umask=umask,
                pipesize=pipesize,
            )
            if self._master is not None:
                self._open_terminal(bufsize)
        finally:
            if pty:
                close(self._slave)
                if self._master is not None:
                    close(self._master)

    def _open_terminal(self, bufsize: int) -> None:
        """Make `stdin` and `stdout` of our end of the terminal."""
        assert self._master is not None
        fd, self._master = self._master, None
        files = pseudo_terminal.files(fd, bufsize)
        if self.text_mode:  # type: ignore[attr-defined]
            options = {"encoding": self.encoding, "errors": self.errors}  # type: ignore[attr-defined]
            by_line = bufsize == 1
            self.stdin = io.TextIOWrapper(
                files[0], write_through=True, line_buffering=by_line, **options
            )
            self.stdout = io.TextIOWrapper(files[1], **options)
        else:
            self.stdin, self.stdout = files

    # -- what subprocess calls ----------------------------------------------------------------

    def _execute_child(  # noqa: PLR0913, PLR0917 - subprocess's own
        self,
        args: Any,
        executable: Any,
        _preexec_fn: None,
        close_fds: bool,  # noqa: FBT001
        pass_fds: Collection[int],
        cwd: Any,
        env: Any,
        _startupinfo: None,
        _creationflags: int,
        shell: bool,  # noqa: FBT001
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        _restore_signals: bool,  # noqa: FBT001
        gid: int | None,
        gids: list[int] | None,
        uid: int | None,
        umask: int,
        start_new_session: bool,  # noqa: FBT001
        *_process_group: int,
    ) -> None:
        words = _words(args, shell=shell)
        if shell and executable:
            words[0] = executable
        sys.audit("subprocess.Popen", executable or words[0], words, cwd, env)
        streams = [None if fd == -1 else fd for fd in (p2cread, c2pwrite, errwrite)]
        if self._master is not None:
            streams = [self._slave, self._slave, self._slave if streams[2] is None else streams[2]]
        settings = self._settings
        if gids is not None or gid is not None or uid is not None:
            settings = {**settings, **_users(gids, gid, uid)}
        steps: list[object] = [(there.settle, settings)] if settings else []
        if self._asked["prepare"] is not None:
            steps.append(self._asked["prepare"])
        if not close_fds:
            pass_fds = _inheritable()
        try:
            self.process = earlyfork.new_command(
                words,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=list(pass_fds),
                executable=executable,
                linked=self._asked["linked"],
                env=env,
                cwd=cwd,
                umask=index(umask),
                start_new_session=start_new_session,
                prepare=steps or None,
            )
            self.pid = self.process.pid
            self._child_created = True
        except earlyfork.RemoteError as error:
            if error.type_name == _REFUSED and error.errno is not None:
                raise OSError(error.errno, os.strerror(error.errno)) from None
            raise SubprocessError("Exception occurred in prepare.") from error
        except earlyfork.ProcessStateError as error:
            raise SubprocessError(f"it ended before it was the command: {error}") from error
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        if self.returncode is None:
            self.returncode = self.process.poll()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            try:
                self.returncode = self.process.wait(timeout)
            except TimeoutError:
                assert timeout is not None
                raise TimeoutExpired(self.args, timeout) from None
        return self.returncode

    def _communicate(self, input: Any, *times: Any) -> Any:  # noqa: A002 - subprocess's name
        try:
            return super()._communicate(input, *times)  # type: ignore[misc]
        except OSError as error:
            if not pseudo_terminal.is_end(self.stdout, error):
                raise
        # All that was read is kept, as when a timeout ends this, and nobody reads our input.
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.close()
        self.stdout.close()
        self._communication_started = True
        return super()._communicate(None, *times)  # type: ignore[misc]

    def send_signal(self, sig: int) -> None:
        """Send a signal, if it has not ended."""
        if self.poll() is None:
            self.process.send_signal(sig)

    def __del__(self, _maxsize: int = sys.maxsize, _warn: Any = warnings.warn) -> None:
        if self._child_created and self.returncode is None:
            _warn(f"subprocess {self.pid} is still running", ResourceWarning, source=self)


def _limit(number: int, limits: tuple[int, int]) -> tuple[int, int, int]:
    """One of `limits`, checked here, where the error says whose it is."""
    soft, hard = limits
    return index(number), index(soft), index(hard)


def _users(groups: list[int] | None, group: int | None, user: int | None) -> dict[str, Any]:
    """Those that were given, as settings."""
    if max(group or 0, user or 0) > _HIGHEST_ID:
        raise OverflowError("a user or group is greater than the maximum")
    if max(groups or (0,)) > _HIGHEST_ID:
        raise ValueError("invalid group id")
    found = {"groups": groups, "group": group, "user": user}
    return {name: value for name, value in found.items() if value is not None}


def _words(args: Any, *, shell: bool) -> list[Any]:
    """The words of a command, as subprocess understands them."""
    if shell and isinstance(args, os.PathLike):
        raise TypeError("path-like args is not allowed when shell is true")
    alone = type(args) is not list and isinstance(args, str | bytes | os.PathLike)
    words = [args] if alone else list(args)  # an error in its own words, if it is no iterable
    return ["/bin/sh", "-c", *words] if shell else words


def _inheritable() -> list[int]:
    """The fds of this program that any command would inherit."""
    found = []
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that lists them
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def add_pipes(options: dict[str, Any], given: Any, *, capture_output: bool) -> None:
    """Add to Popen's options the pipes that `run` needs for its input and output.

    Raises:
        ValueError: the options say something else of these streams.
    """
    if given is not None and not options.get("pty"):
        if options.get("stdin") is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        options["stdin"] = PIPE
    if capture_output:
        if options.get("stdout") is not None or options.get("stderr") is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        options["stdout"] = options["stderr"] = PIPE


def run(
    args: Sequence[Text] | Text,
    *,
    input: Any = None,  # noqa: A002 - subprocess's name
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **options: Any,
) -> CompletedProcess[Any]:
    """Run a command to its end, as `subprocess.run` does; `options` are those of `Popen`.

    Raises:
        TimeoutExpired: it took longer than `timeout`, and was killed.
        CalledProcessError: with `check`, its status is not 0.
        OSError, SubprocessError, ValueError: see `Popen`.
    """
    add_pipes(options, input, capture_output=capture_output)
    with Popen(args, **options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=timeout)
        except TimeoutExpired:
            process.kill()
            process.wait()
            raise
        except BaseException:  # Ctrl-C, too: then the command had a moment to end by itself
            process.kill()
            raise
        code = process.poll()
        assert code is not None
        if check and code:
            raise CalledProcessError(code, process.args, output=stdout, stderr=stderr)
    return CompletedProcess(process.args, code, stdout, stderr)
