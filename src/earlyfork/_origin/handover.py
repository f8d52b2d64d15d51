"""As if started now: what a new process is told of its caller's surroundings, and what can't be.

It is told only in what they differ from the surroundings that its template was made with.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from earlyfork import _context
from earlyfork._ground import frozen
from earlyfork._ground.stack import warn
from earlyfork._owner import inside
from earlyfork._owner.own import open_directory, owned
from earlyfork._shared import payloads, wire
from earlyfork._shared.surroundings import env_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from earlyfork._context import Context
    from earlyfork._owner.own import Own
    from earlyfork._owner.process import Process


def checked_environment(env: Mapping[str, str]) -> dict[bytes, bytes]:
    """What a user gave as an environment, as the system keeps one.

    Raises:
        TypeError: it does not map str to str.
        ValueError: the system can't hold one of its names or values.
    """
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


#: Variables that the dynamic loader, the C library or the interpreter reads when a program starts.
_READ_AT_START = (b"LD_", b"MALLOC_", b"PYTHON", b"GLIBC_TUNABLES")
#: Variables that decide how text files and file names are encoded: the first of them that is set.
_LOCALE = (b"LC_ALL", b"LC_CTYPE", b"LANG")


def _locale(env: dict[bytes, bytes]) -> bytes:
    """The locale from which an interpreter that starts with this environment takes the encoding."""
    if env.get(b"LC_ALL"):
        return env[b"LC_ALL"]
    found = env.get(b"LC_CTYPE") or env.get(b"LANG") or b"C"
    return b"C.UTF-8" if found in (b"C", b"POSIX") else found  # as the interpreter does (PEP 538)


def _warn_of_late(base: dict[bytes, bytes], env: dict[bytes, bytes], changed: list[bytes]) -> None:
    """Say which of these changes of the environment a process that is forked can't obey."""
    begins = _READ_AT_START if _locale(base) == _locale(env) else (*_READ_AT_START, *_LOCALE)
    late = sorted(
        os.fsdecode(name)
        for name in changed
        if name.startswith(begins)
        if os.fsdecode(name) not in frozen.LOADER_ENVIRONMENT  # the bootloader's, not the user's
    )
    if late:
        warn(
            f"the environment differs in {', '.join(late)} from what the template was made with: "
            "that is read when a program starts, so the new process, which is forked, does not "
            "obey it (what it executes does). Only new_exec(executable=...) starts a program"
        )


def hand_over(
    process: Process,
    baseline: Context,
    env: dict[bytes, bytes],
    folder: Own | None,
    *,
    warns: bool = True,
) -> None:
    """Queue what differs between here and what the process's template was made with.

    Args:
        process: the new process, which was told nothing yet.
        baseline: the surroundings that its template was made with.
        env: the environment that the process shall have.
        folder: its working directory, which is owned from here on; None: the caller's.
        warns: whether the process will run code that can't obey some variables.

    Warns:
        EarlyForkWarning: the environment differs in what is read only when a program starts.
    """
    if env != baseline.env:
        changes = env_changes(baseline.env, env)
        inside.add(process, wire.ENV, payloads.pack_env(changes))
        if warns:
            _warn_of_late(baseline.env, env, [name for name, _ in changes])
    is_elsewhere = _context.directory_identity("/") != baseline.root  # chroot
    if is_elsewhere:
        inside.add(process, wire.CHROOT, b"", (open_directory("/"),))
    if folder is not None:
        inside.add(process, wire.CWD, b"", (folder,))
    else:
        cwd = _context.directory_identity(".")
        if (is_elsewhere or cwd != baseline.cwd) and cwd is not None:
            inside.add(process, wire.CWD, b"", (open_directory("."),))
    if sys.path != baseline.path and not frozen.owns_path():
        entries = [os.fsencode(str(entry)) for entry in sys.path]
        inside.add(process, wire.PATH, payloads.pack_path(entries))
    stdio = _context.stdio_identity()
    if stdio != baseline.stdio:
        kinds = bytearray([payloads.KEEP] * 3)
        fds = []
        for number, (now, then) in enumerate(zip(stdio, baseline.stdio, strict=True)):
            if now is None:
                kinds[number] = payloads.NULL
            elif now != then:
                kinds[number] = payloads.NEXT_FD
                fds.append(owned(os.dup, number))
        inside.add(process, wire.STDIO, bytes(kinds), fds)
