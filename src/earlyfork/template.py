"""Snapshots of the main program: `from earlyfork.template import TEMPLATE`, or `snapshot()`.

Importing this module forks the main program at that line. Functions and modules that are defined
above it are in the snapshot, and so are the main script's own functions, by bare name.

From AnyEvent::Fork::Template.
"""

from __future__ import annotations

import os
import stat
import warnings
from typing import TYPE_CHECKING, cast

import earlyfork
from earlyfork import _context, _early, _health, _linked, _origin, _platform, _process, _shed
from earlyfork._errors import TemplateError
from earlyfork._here import here

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from earlyfork._process import Process

__all__ = ["TEMPLATE", "snapshot"]


def snapshot(*, keep_fds: Iterable[int] = ()) -> Process:
    """Fork a template off this process as it is now.

    Regular files, devices and listening sockets stay open in it, since code that was set up
    before relies on them; pipes, connected sockets and everything else with a peer is replaced by
    a dead end, so that no peer waits for this process in vain.

    Args:
        keep_fds: further fds that stay open there.

    Raises:
        TemplateError: Python threads run; they are named.
        OSError: no process, no memory or no fd was to be had.
        ValueError: something in `keep_fds` is no open fd.

    Warns:
        EarlyForkWarning: native threads run; they are named. BLAS pools are common and cope.
    """
    earlyfork._settle()
    keep = set(keep_fds)
    for fd in keep:
        try:
            os.fstat(fd)
        except (OSError, TypeError, OverflowError) as error:
            raise ValueError(f"keep_fds: {fd!r} is no open fd") from error
    threads = _platform.python_threads()
    if threads:
        raise TemplateError(
            f"no snapshot can be taken while other threads run ({', '.join(threads)}): their locks "
            "would stay locked in it for ever. Take it before they start, or stop them"
        )
    native = _platform.thread_names()
    if native:
        _platform.warn(
            f"the snapshot is taken beside native threads ({', '.join(native)}), which are not in "
            "it; libraries that own them must cope with fork, as BLAS pools do"
        )
    default = _origin.default_comm()
    found = _health.findings(keep, _own_fds())
    with warnings.catch_warnings():
        # 3.12 and later warn of fork beside threads; that was said above, with names.
        warnings.simplefilter("ignore", DeprecationWarning)
        forked = _early.fork_template(
            lambda comm, status: _snapshot_template(comm, status, keep, default)
        )
    _origin.note_inherited(found)
    process = _origin.root_process(forked, "snapshot")
    process.has_main = True
    return process


def _own_fds() -> set[int]:
    """The fds of earlyfork's that are open here: nothing that the user would have to look after."""
    found = {_origin.default_comm(), here.lifeline, here.line}
    if here.up is not None:
        found.add(here.up.fileno())
    return found.union(
        *(process.own_fds() for process in _process.living()),
        *(watch.own_fds() for watch in _linked.watches),
    )


def _snapshot_template(comm: int, status: int, keep: set[int], default: int) -> NoReturn:
    """What a snapshot does first: let go of the main program's peers, keep all else."""
    can_ask = default >= 0 or here.can_ask
    shed_fds(keep | {comm, status} | ({default} if default >= 0 else set()))
    _origin.forget_everything()
    _shed.finish_half_imports()
    import gc

    from earlyfork import _frozen, _root

    type(here).collect_by = _frozen.collect_by()
    gc.freeze()
    _root.serve_root(comm, status, default, can_ask=can_ask)


def shed_fds(keep: set[int]) -> None:
    """Put a dead end in the place of every fd with a peer.

    The numbers stay taken: objects that still name them, and close them one day, hit nothing else.
    """
    import socket

    _context.fill_streams()
    plug, gone = socket.socketpair()
    gone.close()
    for fd in _platform.open_fds():
        if fd not in keep and fd != plug.fileno() and not may_stay(fd):
            os.dup2(plug.fileno(), fd, inheritable=False)
    plug.close()


def may_stay(fd: int) -> bool:
    """Whether an fd does no harm in a snapshot: a file, a device, or a listening socket."""
    import socket

    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISDIR(mode):
        return True
    if not stat.S_ISSOCK(mode):
        return False
    probe = socket.socket(fileno=os.dup(fd))
    try:
        return bool(probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # pragma: no cover - no kind of socket on Linux refuses the question
        return False
    finally:
        probe.close()


class _Refused:
    """What stands for TEMPLATE where the main module is run again by multiprocessing."""

    def __getattr__(self, name: str) -> NoReturn:
        raise TemplateError(
            "this process runs the main module again for multiprocessing: it has no snapshot of "
            "its own; use what the main program made"
        )


def _at_import() -> Process:
    names = _early.importers()
    if names[:1] == ["__mp_main__"]:
        return cast("Process", _Refused())
    if not _early.main_program_asks(names):
        raise TemplateError(
            f"only the main program may take a snapshot of itself, not {names[0]}: a library does "
            "not know when its host can be forked. Use earlyfork.new() there"
        )
    return snapshot()


#: The snapshot that the import took.
TEMPLATE = _at_import()
