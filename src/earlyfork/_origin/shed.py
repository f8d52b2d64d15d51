"""What a template that was forked off the main program does first: let go of what the program had.

Only after that does the template load the rest of the package: by then nobody waits.
"""

from __future__ import annotations

import _signal
import os
import sys
from posix import close, fork, read

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: What a template inherited and dropped: kept, so that nothing of it is ever finalised there.
_inherited: list[object] = []


def early_template(comm: int, status: int, *keep: int) -> NoReturn:
    """What an early template does: shed the main program, then serve."""
    import gc

    close_other_fds({comm, status, *keep})
    forget_tracker()
    forget_forkserver()
    drop_half_imports()
    sys.argv = [""]
    sys.modules["earlyfork"].__dict__["_reason"] = "this process was made by earlyfork"
    from earlyfork._child import root
    from earlyfork._context import fresh_main

    heed_freezer()
    _inherited.append(fresh_main())
    gc.freeze()
    root.serve_root(comm, status)


def heed_freezer() -> None:
    """In a template of a frozen app: what its processes must know of that."""
    from earlyfork._child import here
    from earlyfork._ground import frozen

    here.Here.collect_by = frozen.collect_by()
    if frozen.has_hooks():
        here.Here.for_commands = staticmethod(frozen.plain_environment)


def close_other_fds(keep: set[int]) -> None:
    """Close every fd above the streams but `keep`; closed streams become /dev/null."""
    from earlyfork._ground.fds import open_fds

    for fd in open_fds():  # which may lie above the limit, if that was lowered
        if fd not in keep:
            close(fd)
    from earlyfork._shared.surroundings import fill_streams

    fill_streams()


def half_imported() -> list[str]:
    """Names of modules whose import is under way."""
    found = []
    for name, module in list(sys.modules.items()):
        try:
            if getattr(getattr(module, "__spec__", None), "_initializing", False):
                found.append(name)
        except Exception:  # noqa: S112 - somebody's own object, which raises what it likes
            continue
    return found


def drop_half_imports() -> None:
    """Forget half-imported modules, which nobody will finish here: they can be imported anew.

    Their submodules are forgotten too, since a submodule is bound to its parent only when it is
    loaded. earlyfork itself stays: the fork is in the last line of its `__init__`.
    """
    half = [name for name in half_imported() if name.partition(".")[0] != "earlyfork"]
    _inherited.extend(
        sys.modules.pop(name)
        for name in list(sys.modules)
        if any(name == parent or name.startswith(parent + ".") for parent in half)
    )
    finish_half_imports()


def finish_half_imports() -> None:
    """Mark modules as imported whose import goes on in another process, and drop their locks.

    The locks are held by a thread that will never come back to release them: a second thread that
    imports such a module would hang (seen on 3.10 to 3.13).
    """
    for name in half_imported():
        spec = sys.modules[name].__spec__
        spec._initializing = False  # type: ignore[union-attr]
    import _frozen_importlib

    _frozen_importlib._module_locks.clear()  # type: ignore[attr-defined]


def serve_marker(comm: int, status: int, keeps_directory: bool) -> NoReturn:  # noqa: FBT001
    """What a launched frozen binary does instead of running the app, as its marker says.

    Args:
        comm: its end of the socket that its owner speaks to.
        status: its end of its own status socket.
        keeps_directory: whether the directory that the app was unpacked into is its own.
    """
    if not keeps_directory:
        if fork():  # nobody's child, as every root template
            os._exit(0)
        early_template(comm, status)
    # PyInstaller's bootloader removes the directory as soon as this process ends. So this process
    # stays until all that were forked from the template are gone: they hold the pipe's other end.
    end, lifeline = os.pipe()
    if fork():
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        close_other_fds({end})
        read(end, 1)
        os._exit(0)
    early_template(comm, status, lifeline)


def snapshot_template(
    comm: int, status: int, keep: set[int], default: int, main: dict[str, object]
) -> NoReturn:
    """What a snapshot does: let go of the main program's peers, keep all else, then serve.

    Args:
        comm: its end of the socket that its owner speaks to.
        status: its end of its own status socket.
        keep: fds that stay open beside those two.
        default: an fd, the way to the default template that the main program had; -1 without one.
        main: the main program's own names.
    """
    import gc

    from earlyfork._child import here, root
    from earlyfork._origin import host_fork, main_module

    can_ask = default >= 0 or here.here.can_ask
    tracker = tracker_fds()
    if not tracker:
        forget_tracker()
    shed_fds(keep | tracker | {comm, status} | ({default} if default >= 0 else set()))
    host_fork.forget_everything()
    finish_half_imports()
    main_module.be_main(main)
    heed_freezer()
    gc.freeze()
    root.serve_root(comm, status, default, can_ask=can_ask)


def tracker_fds() -> set[int]:
    """The way to multiprocessing's resource tracker, which a snapshot shares.

    So does a forked child. Shared memory that a worker attaches to would else be known to a tracker
    of the worker's own, which unlinks it when the worker ends. But newer releases of Python wait at
    their exit until nobody has that way any more (a tracker with `__del__`), and a snapshot lives
    as long as its owner: there it is not shared, and a worker starts one when it needs it.
    """
    tracker = _tracker()
    fd = getattr(tracker, "_fd", None)
    return set() if fd is None or hasattr(type(tracker), "__del__") else {fd}


def forget_tracker() -> None:
    """The tracker is the main program's: whatever takes its fd's number would be written to."""
    tracker = _tracker()
    if tracker is not None:
        vars(tracker).update(_fd=None, _pid=None)


def _tracker() -> Any:
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(module, "_resource_tracker", None)


def forget_forkserver() -> None:
    """As the tracker."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    if hasattr(module, "_forkserver"):
        module._forkserver.__init__()


def shed_fds(keep: set[int]) -> None:
    """Put a dead end in the place of every fd with a peer.

    The numbers stay taken: objects that still name them, and close them one day, hit nothing else.
    """
    import socket

    from earlyfork._ground.fds import may_stay, open_fds
    from earlyfork._shared.surroundings import fill_streams

    fill_streams()
    plug, gone = socket.socketpair()
    gone.close()
    for fd in open_fds():
        if fd not in keep and fd != plug.fileno() and not may_stay(fd):
            os.dup2(plug.fileno(), fd, inheritable=False)
    plug.close()
