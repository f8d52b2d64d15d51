"""The files that a process has open: what they hold back is written before a fork, and at the end.

They are found among the objects that the collector knows, which were made since the heap was last
frozen. Only types are looked at, so that no proxy object is woken.
"""

from __future__ import annotations

import _io
import gc
import sys

from earlyfork._child.here import here

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any

#: Types of files that hold nothing back.
_PLAIN = (_io.FileIO, _io.BufferedReader, _io.BytesIO, _io.StringIO)
#: The flag of classes that are written in Python. Only the close() of such a file (a gzip file,
#: say) knows what belongs at its end.
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

    With `at_end`, files whose class is written in Python are closed, as an interpreter does when it
    ends.
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
    """Before this process is forked: write its files out; no child finalises what it made."""
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
    """Run the collector if there is an object with a finalizer in Python: it may be in a cycle."""
    types = {type(thing) for thing in gc.get_objects()}
    if any(type(getattr(found_type, "__del__", None)) is _FUNCTION for found_type in types):
        gc.collect()
