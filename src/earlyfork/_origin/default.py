"""The default template: the one that the main program forked early, or one that is launched once.

A process that earlyfork made has no default template of its own: it asks its forker (`above`).
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from earlyfork._child.here import ALONE, here
from earlyfork._ground import frozen, marker, platform, stack
from earlyfork._ground.errors import EarlyForkError, TemplateDied
from earlyfork._ground.stack import warn
from earlyfork._origin import interpreter, launch
from earlyfork._origin.above import Above
from earlyfork._owner import inside
from earlyfork._owner.own import Own
from earlyfork._owner.process import Process
from earlyfork._owner.watch import Watch

if TYPE_CHECKING:
    from earlyfork._early import Forked


class _Defaults:
    """What this program's processes are made from; a snapshot puts a new one in place of `_now`."""

    def __init__(self) -> None:
        self.lock = _thread.RLock()
        self.template: Process | Above | None = None
        self.executable: str | None = None
        #: Why the last template is gone; empty as soon as the user was told.
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
    _now.template = _now.early = root_of(forked, "early")


def root_of(forked: Forked, origin: str, main: dict[str, object] | None = None) -> Process:
    """The handle on a template that was forked off this program."""
    comm, watch = Own(), Watch()
    for own, fd, file in zip(
        (comm, watch), (forked.comm, forked.status), forked.files, strict=True
    ):
        try:
            if os.path.samestat(os.fstat(fd), file):
                own.make(int, fd)
        except OSError as error:  # closed meanwhile
            stack.pass_on(error)
    return inside.root(comm, watch, origin, forked.baseline, main)


def early_template() -> Process | None:
    """The early template, if one serves."""
    early = _now.early
    if early is None or not inside.is_ours(early):
        return None
    return early if inside.serves(early) else None


def load_ahead(*modules: str) -> None:
    """Have the template that serves now load what its processes may need and can't load later."""
    template = _now.template
    if isinstance(template, Process) and inside.is_ours(template) and inside.serves(template):
        with contextlib.suppress(EarlyForkError, OSError):  # it dies: the next `new` will say so
            template.require(*modules).ready(10)


def inherited() -> tuple[str, ...]:
    """What the snapshots taken here inherited that may hurt."""
    return tuple(_now.inherited)


def note_inherited(lines: list[str]) -> None:
    """Remember for `status` what a snapshot has inherited that may hurt."""
    _now.inherited += [line for line in lines if line not in _now.inherited]


def set_executable(path: str | os.PathLike[str] | None) -> None:
    """Name the interpreter to launch when there is no early template.

    A default template that was launched already is replaced at the next `new`.

    Args:
        path: the interpreter's absolute path; None: have earlyfork find one again.

    Raises:
        TypeError: the path is no str.
        ValueError: the path is not absolute.
        FileNotFoundError: nothing executable is there.

    In the place of AnyEvent::Fork's variable `$AnyEvent::Fork::PERL`.
    """
    if path is not None:
        path = checked_executable(path)
    with _now.lock:
        _now.executable = path
        if _now.template is not None and _now.template is not _now.early:
            _now.template = None


def preset_executable(path: str) -> None:
    """Note what EARLYFORK_PYTHON says. It is checked only when something is launched."""
    if _now.executable is None:
        _now.executable = path


def checked_executable(path: str | os.PathLike[str]) -> str:
    """The path as str, if it can be executed; raises what `set_executable` raises."""
    text = launchable(path)
    if not os.access(text, os.X_OK) or os.path.isdir(text):
        raise FileNotFoundError(2, "no such executable file", text)
    return text


def choose(given: str | None = None) -> interpreter.Choice:
    """What would be launched now."""
    return interpreter.choose(given, _now.executable)


def launch_root(
    executable: str | None = None, env: dict[str, str] | None = None, *, alone: bool = False
) -> Process:
    """A root template in a new interpreter."""
    if not platform.can_fork:
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
    if choice.frozen and marker.is_privileged():
        raise EarlyForkError(
            "a setuid app can't launch itself: it obeys no marker, since anybody could have set "
            "it. Make `import earlyfork` the first line of its main program"
        )
    launched = launch.launch(choice, env, alone=alone)
    watch = launched.watch
    watch.started_by = str(choice)
    return inside.root(launched.comm, watch, "exec", launched.baseline)


def _app_obeys_marker() -> bool:
    """Whether this frozen app, run once more, would find the marker before it runs its own code."""
    if frozen.has_hooks() or _now.early is not None:
        return True
    return "earlyfork" in vars(sys.modules["__main__"])


def default_template() -> Process | Above:
    """The default template, launched if need be."""
    template = _now.template
    if isinstance(template, Process):
        if inside.is_ours(template):
            return template
        lose(template)
    elif template is not None:
        return template
    with _now.lock:
        if _now.template is None:
            if here.is_alone:
                raise TemplateDied(f"no process can be asked for: {ALONE}")
            if here.can_ask and here.baseline is not None and here.up >= 0:
                _now.template = Above(here.baseline)
            else:
                _replace()
        assert _now.template is not None
        return _now.template


def lose(template: Process | Above) -> None:
    """Drop a default template that turned out to be dead, if nobody else did so meanwhile."""
    with _now.lock:
        if _now.template is template:
            _lose(template)


def _lose(template: Process | Above) -> None:
    """Drop a default template that can't be used any more, and remember why."""
    if isinstance(template, Above):
        here.can_ask = False
        _now.template = None
        _now.death = "the template that this process came from is gone"
        return
    if inside.is_ours(template):
        watch = inside.watch_of(template)
        with contextlib.suppress(EarlyForkError):
            watch.refresh()
        pid = watch.known_pid()
        _now.death = (
            f"the {template.origin} template (pid {pid or 'unknown'}) died (was it killed?)"
        )
        if watch.started_by:
            _now.death += f" It was launched as {watch.started_by}"
    else:
        _now.death = (
            f"the socket to the {template.origin} template was closed behind earlyfork's back "
            "(by a closerange?)"
        )
        inside.disown(template)
    if template is _now.early:
        _now.early_death = _now.death
    _now.template = _now.early = None


def _replace() -> None:
    root = launch_root()
    _now.template = root
    if _now.death:
        text, _now.death = _now.death, ""
        warn(f"{text}. New processes come from a new template, launched as {choose()}")


def launchable(path: str | os.PathLike[str]) -> str:
    """The path as str, if it is one that can be launched.

    Raises:
        TypeError: the path is no str.
        ValueError: it is not absolute.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"the path of an interpreter is a str, not {type(text).__name__}")
    if not os.path.isabs(text):
        raise ValueError(f"the path of an interpreter must be absolute, not {text!r}")
    return text


def default_comm() -> int:
    """The fd of the socket to the default template, which a snapshot inherits; -1 without one."""
    template = _now.template
    if isinstance(template, Process) and inside.is_ours(template):
        return inside.comm_fd(template)
    return -1


# -- after a fork ---------------------------------------------------------------------------------


def begin_anew() -> None:
    """In the child of a host that forked itself: make a new lock; a thread may hold the old one."""
    _now.lock = _thread.RLock()


def forget_all() -> None:
    """In a snapshot: forget the templates of its main program."""
    global _now
    _now = _Defaults()
