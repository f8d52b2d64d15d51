"""Snapshots of the main program: `from earlyfork.template import TEMPLATE`, or `snapshot()`.

Importing this module forks the main program at that line. Functions and modules that are defined
above it are in the snapshot, and so are the main script's own functions, by bare name.

From AnyEvent::Fork::Template.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, cast

import earlyfork
from earlyfork import _early
from earlyfork._ground import platform, stack
from earlyfork._ground.errors import TemplateError
from earlyfork._origin import default, health, shed
from earlyfork._shared import huge

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from earlyfork._owner.process import Process

__all__ = ["TEMPLATE", "snapshot"]


def snapshot(*, keep_fds: Iterable[int] = (), compact: bool = False) -> Process:
    """Fork a template off this process as it is now.

    Regular files, devices and listening sockets stay open in the template, since code that was set
    up before relies on them. Pipes, connected sockets and everything else with a peer is replaced
    by a dead end, so that no peer waits for this process in vain.

    Args:
        keep_fds: further fds that stay open there.
        compact: put this process's memory into huge pages first, so that a fork of the snapshot
            costs little, however large this process is. It takes about a second for each GB.
            Process and snapshot go on sharing these pages. What was forked off before, an earlier
            snapshot say, keeps the old ones.

    Returns:
        The template. Processes that are forked from it have the main module's functions.

    Raises:
        TemplateError: Python threads run (they are named), or greenlets do.
        OSError: no process, no memory or no fd was to be had.
        ValueError: something in `keep_fds` is no open fd.

    Warns:
        EarlyForkWarning: native threads run; they are named. BLAS pools are common and cope.

    From AnyEvent::Fork::Template, which takes one when it is loaded and no more after that.
    """
    earlyfork._settle()
    keep = set(keep_fds)
    for fd in keep:
        try:
            os.fstat(fd)
        except (OSError, TypeError, OverflowError) as error:
            raise ValueError(f"keep_fds: {fd!r} is no open fd") from error
    threads = platform.python_threads()
    if threads:
        raise TemplateError(
            f"no snapshot can be taken while other threads run ({', '.join(threads)}): their locks "
            "would stay locked in it for ever. Take it before they start, or stop them"
        )
    if _early.greenlets_run():
        raise TemplateError(
            "no snapshot can be taken while greenlets run, or by one: they would go on in every "
            "process from it. Take it before gevent, or its like, is used for the first time"
        )
    native = platform.thread_names()
    if native:
        stack.warn(
            f"the snapshot is taken beside native threads ({', '.join(native)}), which are not in "
            "it; libraries that own them must cope with fork, as BLAS pools do"
        )
    main = stack.main_names()
    comm_to_default = default.default_comm()
    found = health.findings(keep)
    if compact:
        huge.compact(shared=True)
    with warnings.catch_warnings():
        # 3.12 and later warn of a fork beside threads. That was said above, with their names.
        warnings.simplefilter("ignore", DeprecationWarning)
        forked = _early.fork_template(
            lambda comm, status: shed.snapshot_template(comm, status, keep, comm_to_default, main)
        )
    default.note_inherited(found)
    return default.root_of(forked, "snapshot", main)


class _Refused:
    """Stands for TEMPLATE where multiprocessing runs the main module again."""

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
