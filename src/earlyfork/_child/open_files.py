"""The files that a process has open: what they hold back is written before a fork, and at the end.

Finds them among the objects that the collector knows: those made since the heap was last frozen.
Only types are looked at, so that no proxy object is woken.
"""

from __future__ import annotations

import _io
import gc
import sys

from earlyfork._child.here import here

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any

#: Types that hold nothing back.
_PLAIN = (_io.FileIO, _io.BufferedReader, _io.BytesIO, _io.StringIO)
#: Defined in Python, so that only its own close() knows what belongs at the end (a gzip file, say).
_HEAP_TYPE = 1 << 9


_FUNCTION = type(lambda: None)


def found() -> list[Any]:
    """The files that may hold something back, beyond the standard streams; wrappers come first."""
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    files = [
        file
        for file in gc.get_objects()
        if issubclass(type(file), _io._IOBase)
        and type(file) not in _PLAIN
        and not any(file is stream for stream in streams)
    ]
    return sorted(files, key=_depth)


def _depth(file: object) -> int:
    if _is_from_python(file):
        return 0
    return 1 if type(file) is _io.TextIOWrapper else 2


def _is_from_python(file: object) -> bool:
    return bool(type(file).__flags__ & _HEAP_TYPE) and type(file).__module__ != "_io"


def write_out(files: list[Any], *, at_end: bool = False) -> bool:
    """Write what these files hold back; False if that failed.

    At the end of their process those whose class is written in Python are closed, as the end of an
    interpreter does.
    """
    ok = True
    for file in files:
        try:
            if file.closed:
                continue
            if at_end and _is_from_python(file):
                file.close()
            elif file.writable():
                file.flush()
        except Exception as error:  # a full disk, a closed peer, or whatever its class does
            ok = False
            print_failure(file, error)
    return ok


def settle() -> None:
    """Before this process is forked: what was made in it so far is no child's to finalise."""
    files = found()
    write_out(files)  # or each child would write it again
    here.files += files
    gc.freeze()


def print_failure(file: object, error: Exception) -> None:
    """Say on stderr what was not written."""
    try:
        name = getattr(file, "name", "")
        sys.stderr.write(f"earlyfork: {type(file).__name__} {name!r} was not written: {error}\n")
    except Exception:
        return


def collect_if_needed() -> None:
    """Finalise what only the collector can, if there is such a thing: an object in a cycle."""
    types = {type(thing) for thing in gc.get_objects()}
    if any(type(getattr(found_type, "__del__", None)) is _FUNCTION for found_type in types):
        gc.collect()
