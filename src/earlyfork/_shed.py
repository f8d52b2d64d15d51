"""What an early template does first: let go of what the main program had, then serve."""

from __future__ import annotations

import _signal
import os
import sys

from earlyfork import _context

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import NoReturn

#: What a template inherited and dropped: kept, so that nothing of it is ever finalised there.
_inherited: list[object] = []


def early_template(comm: int, status: int, *keep: int) -> NoReturn:
    """What an early template does: shed the main program, then serve."""
    import gc

    close_other_fds({comm, status, *keep})
    drop_half_imports()
    sys.argv = [""]
    sys.modules["earlyfork"].__dict__["_reason"] = "this process was made by earlyfork"
    from earlyfork import _frozen, _here, _root

    _here.Here.collect_by = _frozen.collect_by()
    _root.fresh_main()
    gc.freeze()
    _root.serve_root(comm, status)


def close_other_fds(keep: set[int]) -> None:
    """Close every fd above the streams but `keep`; closed streams become /dev/null."""
    from earlyfork import _platform

    for fd in _platform.open_fds():  # which may lie above the limit, if that was lowered
        if fd not in keep:
            os.close(fd)
    _context.fill_streams()


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
    """Let half-imported modules be imported anew: nobody will ever finish them here.

    Their submodules go too, since those are bound to the parent only when they are loaded.
    earlyfork itself is whole enough: this is its last line.
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


def serve_marker(fds: tuple[int, int]) -> NoReturn:
    """What a launched frozen binary does instead of running the app."""
    from earlyfork import _frozen

    comm, status = fds
    if not _frozen.has_own_directory:
        if os.fork():  # nobody's child, as every root template
            os._exit(0)
        early_template(comm, status)
    # PyInstaller's bootloader removes the directory as soon as this process ends: it stays until
    # all that were forked from the template, and so hold the other end of a pipe, are gone.
    end, lifeline = os.pipe()
    if os.fork():
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
        close_other_fds({end})
        os.read(end, 1)
        os._exit(0)
    early_template(comm, status, lifeline)
