"""earlyfork: a new, clean Python process in the time of a socket write.

As the first line of a main program, `import earlyfork` forks the early template, from which all
new processes of the program then come. The import in a library forks nothing: the library's
processes come from the host's template, or from one that is launched on demand.

Of the core, only this module and `template` act when they are imported, and only this one reads
settings from the environment (but for EARLYFORK_PURE). All but the fork is loaded when it is first
used.
"""

import _thread
import os as _os
import sys as _sys

__version__ = "0.2.0"
__all__ = [
    "EarlyForkError",
    "EarlyForkWarning",
    "LaunchError",
    "Process",
    "ProcessLost",
    "ProcessStateError",
    "ProtocolError",
    "RemoteError",
    "Status",
    "TemplateDied",
    "TemplateError",
    "command_environment",
    "is_frozen",
    "new",
    "new_command",
    "new_exec",
    "new_from_fh",
    "new_from_relay",
    "rehearse",
    "run_args",
    "set_executable",
    "sibling",
    "status",
]

_HOMES = {
    "Process": "_owner.process",
    "Status": "_origin.status",
    "command_environment": "_ground.frozen",
    "is_frozen": "_ground.frozen",
    "new": "_origin.new",
    "new_command": "_origin.new",
    "new_exec": "_origin.new",
    "new_from_fh": "_origin.new",
    "new_from_relay": "_origin.new",
    "rehearse": "_child.here",
    "run_args": "_child.here",
    "set_executable": "_origin.default",
    "sibling": "_origin.new",
    "status": "_origin.status",
}
#: Why the import forked a template, or why not, for `status`.
_reason = ""
_settling = _thread.allocate_lock()
#: The template that the import forked, until the rest of the package takes it over.
_forked: object = None

TYPE_CHECKING = not __name__  # never; but jedi believes a plain False, and completes no name
if TYPE_CHECKING:
    from typing import NoReturn

    from earlyfork._child.here import rehearse, run_args
    from earlyfork._ground.errors import (
        EarlyForkError,
        EarlyForkWarning,
        LaunchError,
        ProcessLost,
        ProcessStateError,
        ProtocolError,
        RemoteError,
        TemplateDied,
        TemplateError,
    )
    from earlyfork._ground.frozen import command_environment, is_frozen
    from earlyfork._origin.default import set_executable
    from earlyfork._origin.new import (
        new,
        new_command,
        new_exec,
        new_from_fh,
        new_from_relay,
        sibling,
    )
    from earlyfork._origin.status import Status, status
    from earlyfork._owner.process import Process


def _load(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'earlyfork' has no attribute {name!r}")
    _settle()
    import importlib

    module = importlib.import_module(f"earlyfork.{_HOMES.get(name, '_ground.errors')}")
    value = getattr(module, name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # to a type checker any name would exist
    __getattr__ = _load


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _not_here() -> str:
    """Why no process can be made in this interpreter, in one line; empty if it can."""
    if _sys.implementation.name != "cpython":
        return (
            f"earlyfork is for CPython: {_sys.implementation.name} can't freeze its garbage "
            "collector before a fork, nor look at a child before it is reaped"
        )
    if not hasattr(_os, "fork"):
        return (
            "earlyfork makes processes on POSIX systems only: this one has no fork and no way to "
            "pass sockets on; use multiprocessing's spawn here"
        )
    return ""


def _settle() -> None:
    """Load the rest of the package, and hand it what the import has done."""
    text = _not_here()
    if text:
        raise ImportError(text)
    with _settling:
        if "_settled" not in globals():
            _take_over(_forked)
            globals()["_settled"] = True


def _take_over(forked: object) -> None:
    from earlyfork._origin import default, host_fork
    from earlyfork._owner import standbys

    host_fork.look_after()
    default.settle(_reason, forked)  # type: ignore[arg-type]
    number = _os.environ.get("EARLYFORK_STANDBY", "")
    most = standbys.MOST_STANDBY
    if number.isdecimal() and int(number) <= most:
        standbys.DEFAULT_STANDBY, standbys.MOST_FOR_BURSTS = int(number), 0
    elif number:
        _warn(
            f"EARLYFORK_STANDBY={number} is ignored: a number of processes is needed, 0 to {most}"
        )
    python = _os.environ.get("EARLYFORK_PYTHON")
    if python:
        default.preset_executable(python)


def _at_import() -> str:
    """Fork the early template if the main program asks for it; say why, or why not."""
    if _sys.implementation.name != "cpython":
        _warn(_not_here())
        return "this is not CPython"
    if not hasattr(_os, "fork"):
        return "this system has no fork"
    here = _sys.modules.get("earlyfork._child.here")
    if here is not None and here.here.kind:
        return "this process was made by earlyfork"
    if "EARLYFORK_SERVE" in _os.environ:
        from earlyfork._ground import marker

        found = marker.take()
        if found is not None:
            from earlyfork._origin import shed

            shed.serve_marker(*found)
    reason = _fork_if_asked()
    from earlyfork import _early

    _early.load_before_files_go(_load_all)
    return reason


def _fork_if_asked() -> str:
    wish = _os.environ.get("EARLYFORK", "")
    if wish not in ("", "0", "1"):
        _warn(f"EARLYFORK={wish} is ignored: 0 forbids the early template and 1 demands it")
    if wish == "0":
        return "EARLYFORK=0 forbids it"
    from earlyfork import _early

    names = _early.importers()
    if wish != "1" and not _early.main_program_asks(names):
        return f"it was imported by {names[0] if names else 'C code'}, not by the main program"
    return _fork_early()


def _fork_early() -> str:
    global _forked
    from earlyfork import _early

    if _early.is_multiprocessing_child():
        return "this process belongs to multiprocessing"
    if _early.in_subinterpreter():
        text = "this is a subinterpreter, and only the main interpreter forks"
        _warn(f"no early template: {text}; processes are launched instead")
        return text
    count = _early.thread_count()
    if count > 1 and not (count == 2 and _early.is_nuitka_onefile()):
        from earlyfork._ground.platform import thread_names

        names = ", ".join(thread_names())
        return _too_late(f"other threads run already ({names}), and a fork would copy their locks")
    in_the_way = _early.what_greenlets_hinder()
    if in_the_way:
        return _too_late(in_the_way)
    try:
        _forked = _early.fork_template(_serve)
    except OSError as error:
        _warn(f"{error}; processes are launched instead")
        return str(error)
    return "the main program imported earlyfork while it had one thread"


def _load_all() -> None:
    """Load the rest of the package, as far as its files can still be read."""
    try:
        for name in __all__:
            globals().get(name) or _load(name)
        from earlyfork._origin import whole

        whole.load_there()
    except ImportError:  # `new` will say what is missing, if it is ever called
        return


def _too_late(text: str) -> str:
    _warn(
        f"import earlyfork comes too late for an early template: {text}; processes are launched "
        "instead. Make it the first line of the main program"
    )
    return text


def _serve(comm: int, status: int) -> "NoReturn":
    from earlyfork._origin import shed

    shed.early_template(comm, status)


def _warn(text: str) -> None:
    from earlyfork._ground.stack import warn

    warn(text)


_reason = _at_import()
