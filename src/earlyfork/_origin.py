"""Where new processes come from: the default template, a launched interpreter, a given socket.

There is one default template per program. The main program forks it early, or it is launched when
somebody first asks; processes that earlyfork made ask up the line for theirs.
"""

from __future__ import annotations

import _socket
import _thread
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from earlyfork import (
    _context,
    _frozen,
    _interpreter,
    _launch,
    _linked,
    _platform,
    _process,
    _watch,
)
from earlyfork import _wire as wire
from earlyfork._children import close_all, status_pair
from earlyfork._errors import EarlyForkError, LaunchError, TemplateDied
from earlyfork._here import here, tell
from earlyfork._hot import quick
from earlyfork._process import Process
from earlyfork._watch import Watch

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from earlyfork._early import Forked


if quick is not None:
    _context.same_place = quick.same_place


class Above:
    """The default template as seen from a process that earlyfork made: asked through its forker."""

    def __init__(self, baseline: _context.Context | None, op: int = wire.NEW) -> None:
        self.baseline = baseline
        self._op = op

    def fork(self) -> Process:
        """A new process off the clean template that this one descends from (or off its forker).

        Raises:
            TemplateDied: this process's forker is gone.
            OSError: no fd to be had here.
        """
        comm, far_comm = (_platform.above_streams(s.detach()) for s in _socket.socketpair())
        try:
            status, far_status = (_platform.above_streams(fd) for fd in status_pair())
        except OSError:
            close_all([comm, far_comm])
            raise
        try:
            tell(self._op, b"", [far_comm, far_status])
        except OSError as error:
            close_all([comm, status])
            raise TemplateDied(f"the template of this process is gone: {error}") from error
        finally:
            close_all([far_comm, far_status])
        return Process(comm, Watch(status, None, None), "nested")


class _Defaults:
    """What this program's processes are made from; one object, `_now`, replaced after a fork."""

    def __init__(self) -> None:
        self.lock = _thread.RLock()
        self.template: Process | Above | None = None
        self.inode = 0
        self.executable: str | None = None
        #: Why the last template is no more, until somebody was told.
        self.death = ""
        self.early: Process | None = None
        self.early_death = ""
        self.inherited: list[str] = []


_now = _Defaults()
#: What happened when the package was imported.
_import_said = ""


def settle(said: str, forked: Forked | None) -> None:
    """Take over what the import of the package did."""
    global _import_said
    _import_said = said
    if forked is not None:
        adopt_early(forked)


def reason() -> str:
    """Why there is an early template, or why not."""
    return _now.early_death or _import_said


def adopt_early(forked: Forked) -> None:
    """Make a template that the main program forked the default one."""
    _now.inode = forked.inode
    _now.template = _now.early = root_process(forked, "early")


def early_template() -> Process | None:
    """The early template, if one serves."""
    early = _now.early
    if early is None or not _is_ours(early):
        return None
    early.refresh()
    with early._lock:
        return None if early.is_over() or early.gone() else early


def inherited() -> tuple[str, ...]:
    """What the snapshots taken here inherited that may hurt."""
    return tuple(_now.inherited)


def note_inherited(lines: list[str]) -> None:
    """Remember it for `status`."""
    _now.inherited += [line for line in lines if line not in _now.inherited]


def root_process(forked: Forked | _launch.Launched, origin: str) -> Process:
    """The handle on a root template."""
    watch = Watch(forked.status, None, None)
    if isinstance(forked, _launch.Launched):
        watch.starter = forked.starter
        watch.started_by = str(forked.choice)
    process = Process(forked.comm, watch, origin)
    process._root = True
    process.baseline = forked.baseline
    return process


def set_executable(path: str | os.PathLike[str] | None) -> None:
    """Name the interpreter to launch when there is no early template; None: find one again.

    A default template that was launched already is replaced at the next `new`.

    Raises:
        ValueError: the path is not absolute. FileNotFoundError: nothing executable is there.
    """
    if path is not None:
        path = checked_executable(path)
    with _now.lock:
        _now.executable = path
        if _now.template is not None and _now.template is not _now.early:
            _now.template = None


def preset_executable(path: str) -> None:
    """What EARLYFORK_PYTHON says; looked at only when something is launched."""
    if _now.executable is None:
        _now.executable = path


def checked_executable(path: str | os.PathLike[str]) -> str:
    """The path as str, if it can be executed."""
    text = _launchable(path)
    if not os.access(text, os.X_OK) or os.path.isdir(text):
        raise FileNotFoundError(2, "no such executable file", text)
    return text


def choose(given: str | None = None) -> _interpreter.Choice:
    """What would be launched now."""
    return _interpreter.choose(given, _now.executable)


def launch_root(
    executable: str | None = None, env: dict[str, str] | None = None, *, alone: bool = False
) -> Process:
    """A root template in a new interpreter."""
    if not _platform.can_fork:
        raise EarlyForkError(
            "earlyfork makes processes on POSIX systems only: this one has no fork and no way to "
            "pass sockets on; use multiprocessing's spawn here"
        )
    choice = choose(executable)
    if choice.frozen and not _app_obeys_marker():
        raise EarlyForkError(
            "this frozen app can't launch itself: its main program neither begins with "
            "`import earlyfork` nor was it built with earlyfork's PyInstaller hooks, so the app "
            "would run a second time. Add the import as the first line of the main program, or "
            "call earlyfork.set_executable()"
        )
    if choice.frozen and _frozen.is_privileged():
        raise EarlyForkError(
            "a setuid app can't launch itself: it obeys no marker, since anybody could have set "
            "it. Make `import earlyfork` the first line of its main program"
        )
    return root_process(_launch.launch(choice, env, alone=alone), "exec")


def _app_obeys_marker() -> bool:
    """Whether a second run of this frozen app would meet the marker before the app's own code."""
    if _frozen.has_hooks() or _now.early is not None:
        return True
    return "earlyfork" in vars(sys.modules["__main__"])


def _default() -> Process | Above:
    """The default template, launched if need be."""
    template = _now.template
    if isinstance(template, Process):
        if _is_ours(template):
            return template
        with _now.lock:
            if _now.template is template:
                _lose(template)
    elif template is not None:
        return template
    with _now.lock:
        if _now.template is None:
            if here.can_ask and here.baseline is not None and here.up is not None:
                _now.template = Above(here.baseline)
            else:
                _replace()
        assert _now.template is not None
        return _now.template


def _is_ours(template: Process) -> bool:
    """Whether the template's fd is still its own: somebody may have closed all fds of the host."""
    if quick is not None:
        return bool(quick.inode(template._comm) == _now.inode)
    try:
        return os.fstat(template._comm).st_ino == _now.inode
    except OSError:
        return False


def _lose(template: Process | Above) -> None:
    """Drop a default template that can't be used any more; remember why."""
    if isinstance(template, Above):
        here.can_ask = False
        _now.template = None
        _now.death = "the template that this process came from is gone"
        return
    if _is_ours(template):
        with contextlib.suppress(EarlyForkError):
            template.refresh()
        pid = template.known_pid()
        _now.death = (
            f"the {template.origin} template (pid {pid or 'unknown'}) died (was it killed?)"
        )
        if template._watch.started_by:
            _now.death += f" It was launched as {template._watch.started_by}"
    else:
        _now.death = (
            f"the socket to the {template.origin} template was closed behind earlyfork's back "
            "(by a closerange?)"
        )
        template.disown()
    if template is _now.early:
        _now.early_death = _now.death
    _now.template = _now.early = None


def _replace() -> None:
    root = launch_root()
    _now.inode = os.fstat(root._comm).st_ino
    _now.template = root
    if _now.death:
        text, _now.death = _now.death, ""
        _platform.warn(f"{text}. New processes come from a new template, launched as {choose()}")


def new(
    *, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> Process:
    """A new, clean process, as if it had been started by this one now.

    It comes from the early template if the main program made one (its first line is
    `import earlyfork`), else from a template that is launched on first use and kept. Never waits
    for the new process.

    Args:
        env: its whole environment, instead of this process's current one.
        cwd: its working directory, instead of this process's current one.

    Raises:
        LaunchError: no interpreter can be launched. OSError: no fd to be had, or no such `cwd`.
        TypeError, ValueError: `env` is no environment.

    Warns:
        EarlyForkWarning: the template had died and was replaced, or `env` changes a variable that
            is read only when a program starts.

    From AnyEvent::Fork's `new`.
    """
    raw = _context.raw_environment() if env is None else _environment(env)
    folder = -1 if cwd is None else _platform.open_directory(cwd)
    while True:
        template = _default()
        try:
            process = template.fork()
        except TemplateDied:
            with _now.lock:
                if _now.template is template:
                    _lose(template)
            continue
        except BaseException:
            if folder >= 0:
                os.close(folder)
            raise
        break
    baseline = template.baseline
    assert baseline is not None
    if folder >= 0 or not baseline.holds(raw):
        _hand_over(process, baseline, raw, folder)
    if env is not None:
        _warn_of_late(baseline.env, raw)
    return process


def new_exec(
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    executable: str | os.PathLike[str] | None = None,
) -> Process:
    """A process in a fresh interpreter; with an early template, one forked off that.

    Args:
        env: its whole environment, instead of this process's current one.
        cwd: its working directory, instead of this process's current one.
        executable: the interpreter for this one process; then it is always launched.

    Raises:
        LaunchError: the interpreter can't be executed; names its path and the errno.
        ValueError, FileNotFoundError: `executable` is no absolute path, or nothing is there.
        OSError: no fd or process to be had, or no such `cwd`.

    In the new interpreter `socket` is loaded when it is first imported, or when the function uses
    its socket for more than to send, receive and close. One that first gives up the stdlib's files
    (chroot, a sandbox) has to import it before.

    From AnyEvent::Fork's `new_exec`. There it makes a direct child; here what is launched forks
    itself free and then forks the process, so that this one is watched like every other.
    """
    if executable is None and early_template() is not None:
        return new(env=env, cwd=cwd)
    path = None if executable is None else _launchable(executable)
    raw = _context.raw_environment() if env is None else _environment(env)
    folder = -1 if cwd is None else _platform.open_directory(cwd)
    try:
        root = launch_root(path, None if env is None else dict(env), alone=True)
        process = _first_of(root)
    except BaseException:
        if folder >= 0:
            os.close(folder)
        raise
    process._keep = root
    assert root.baseline is not None
    _hand_over(process, root.baseline, raw, folder)
    return process


def _first_of(root: Process) -> Process:
    """The process of a template that was launched for it, if it is what it should be."""
    root.standby = 0
    try:
        return root.fork()
    except TemplateDied as error:
        raise LaunchError(f"no process could be launched: {root._watch.epitaph()}") from error


def _launchable(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"the path of an interpreter is a str, not {type(text).__name__}")
    if not os.path.isabs(text):
        raise ValueError(f"the path of an interpreter must be absolute, not {text!r}")
    return text


def sibling() -> Process:
    """In a process that earlyfork made: one more clone of what this one was cloned from.

    It has what its template was prepared with when the request arrives there, and nothing of this
    process. A worker that has given up its user id is refused.

    Raises:
        TemplateDied: this process was not made by earlyfork, or its template is gone.
        OSError: no fd to be had here.
    """
    return Above(None, wire.SIBLING).fork()


def new_from_fh(fh: socket.socket) -> Process:
    """Take up a prepared process whose socket another process got from `to_fh`.

    Owns the socket from here on.

    Raises:
        TypeError: no socket. ValueError: a closed one.

    From AnyEvent::Fork's `new_from_fh`.
    """
    import socket

    if not isinstance(fh, socket.socket):
        raise TypeError(f"new_from_fh takes the socket that to_fh() gave, not {type(fh).__name__}")
    if fh.fileno() < 0:
        raise ValueError("new_from_fh was given a closed socket")
    if fh.family != socket.AF_UNIX or fh.type != socket.SOCK_STREAM:
        raise ValueError(f"new_from_fh takes the socket that to_fh() gave, not {fh!r}")
    status, far_status = (_platform.above_streams(fd) for fd in status_pair())
    process = Process(fh.detach(), Watch(status, None, None), "taken up")
    # Whether it has clones can't be known here; if so, one more clone must run in its stead.
    process._cloned = True
    process._add(wire.ADOPT, b"", far_status)
    process._flush()
    return process


# -- as if started now ---------------------------------------------------------------------------


def _environment(env: Mapping[str, str]) -> dict[bytes, bytes]:
    if not hasattr(env, "items"):
        raise TypeError(f"env maps str to str, and is no {type(env).__name__}")
    raw = {}
    for name, value in env.items():
        if type(name) is not str or type(value) is not str:
            raise TypeError(f"env maps str to str, not {name!r} to {value!r}")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise ValueError(f"{name!r}: {value!r} can't be in an environment")
        raw[os.fsencode(name)] = os.fsencode(value)
    return raw


def _warn_of_late(base: dict[bytes, bytes], wanted: dict[bytes, bytes]) -> None:
    late = sorted(
        os.fsdecode(name)
        for name in {*base, *wanted}
        if name.startswith((b"LD_", b"MALLOC_", b"PYTHON")) or name == b"GLIBC_TUNABLES"
        if base.get(name) != wanted.get(name)
        and os.fsdecode(name) not in _frozen.LOADER_ENVIRONMENT  # the bootloader's, not the user's
    )
    if late:
        _platform.warn(
            f"env= changes {', '.join(late)}: that is read when a program starts, so the new "
            "process, which is forked, does not obey it (what it executes does). Only "
            "new_exec(executable=...) starts a program"
        )


def _hand_over(
    process: Process,
    baseline: _context.Context,
    env: dict[bytes, bytes],
    folder: int,
) -> None:
    """Queue what differs between here and what the process's template was made with."""
    if env != baseline.env:
        process._add(wire.ENV, _context.env_changes(baseline.env, env))
    if folder >= 0:
        process._add(wire.CWD, b"", folder)
    else:
        cwd = _context.cwd_identity()
        if cwd != baseline.cwd and cwd is not None:
            process._add(wire.CWD, b"", _platform.open_directory("."))
    if sys.path != baseline.path and not _frozen.owns_path():
        entries = [os.fsencode(str(entry)) for entry in sys.path]
        process._add(wire.PATH, b"\0".join(entries))
    stdio = _context.stdio_identity()
    if stdio != baseline.stdio:
        kinds = bytearray(b"---")
        fds: list[int] = []
        for number, (now, then) in enumerate(zip(stdio, baseline.stdio, strict=True)):
            if now is None:
                kinds[number] = ord("n")
            elif now != then:
                kinds[number] = ord("f")
                try:
                    fds.append(_platform.above_streams(os.dup(number)))
                except OSError:
                    close_all(fds)
                    raise
        process._add(wire.STDIO, bytes(kinds), *fds)


# -- after the host forked itself ----------------------------------------------------------------


_pid = os.getpid()


def _after_fork_in_child() -> None:
    """A host's own child shares the templates; all other processes belong to its parent."""
    global _pid
    parent, _pid = _pid, os.getpid()  # getppid() may be a process between the two
    _now.lock = _thread.RLock()
    _watch.after_fork_in_child()
    _linked.after_fork_in_child(parent)
    for process in _process.living():
        process.begin_anew(parent)


def forget_everything() -> None:
    """In a snapshot: the handles that it inherited are its main program's, their fds closed."""
    global _now
    for process in _process.living():
        process.disown()
    _process.forget_everything()
    _linked.forget_everything()
    _now = _Defaults()


if _platform.can_fork:
    os.register_at_fork(after_in_child=_after_fork_in_child)


def default_comm() -> int:
    """The fd of the way to the default template, for a snapshot to inherit; -1 without one."""
    template = _now.template
    if isinstance(template, Process) and _is_ours(template):
        return template._comm
    return -1
