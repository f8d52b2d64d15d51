"""Load all that `new` and a process's handle may ever need.

Imported just before a main program gives up the right to read files (see
`_early.load_before_files_go`), and never otherwise: together it costs as much as an interpreter's
own start.
"""

from __future__ import annotations

# What is loaded late by the standard library's own code or by ours.
import _posixsubprocess  # noqa: F401
import fcntl  # noqa: F401
import linecache  # noqa: F401
import pickle  # noqa: F401
import select  # noqa: F401
import shutil  # noqa: F401
import socket  # noqa: F401
import subprocess  # noqa: F401
import sysconfig
import threading  # noqa: F401
import warnings  # noqa: F401
import zlib  # noqa: F401

from earlyfork._child.rights import LATE
from earlyfork._ground import fds, marker, platform, stack, starters  # noqa: F401
from earlyfork._origin import (  # noqa: F401
    above,
    child_text,
    default,
    handover,
    health,
    host_fork,
    interpreter,
    launch,
    new,
    status,
)
from earlyfork._owner import files, process  # noqa: F401

sysconfig.get_config_vars()  # which loads a module of its own


def load_there() -> None:
    """Have the template load what a process of its own loads late: its files go out of reach."""
    default.load_ahead(*LATE, "socket")
