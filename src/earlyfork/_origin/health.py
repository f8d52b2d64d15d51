"""What of this process would hurt one that is forked from it: found by looking, told in words.

This file only looks: it opens nothing of what it finds, imports nothing and changes nothing. Each
line names what there is, what becomes of that in a snapshot, and what to do instead.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from earlyfork._child.here import here
from earlyfork._ground import platform
from earlyfork._ground.fds import listens, open_fds, target
from earlyfork._origin import default, shed
from earlyfork._owner import inside, linked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: Modules that look at the environment when they are imported, and the variables they look at. A
#: process that is forked with such a module can't be told otherwise by env=.
READ_AT_IMPORT = {
    "numpy": "OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS",
    "torch": "OMP_NUM_THREADS and MKL_NUM_THREADS",
    "tensorflow": "TF_CPP_MIN_LOG_LEVEL and TF_ENABLE_ONEDNN_OPTS",
    "jax": "JAX_PLATFORMS and XLA_FLAGS",
    "numba": "NUMBA_NUM_THREADS",
    "polars": "POLARS_MAX_THREADS",
    "numexpr": "NUMEXPR_MAX_THREADS",
    "matplotlib": "MPLBACKEND and MPLCONFIGDIR",
    "huggingface_hub": "HF_HOME and HF_TOKEN",
    "gevent": "GEVENT_LOOP and GEVENT_RESOLVER",
}
#: How the files of databases begin of which a library keeps state in memory as well.
DATABASES = {b"SQLite format 3\0": "SQLite", b"\xde\xc0\xef\xbe": "LMDB"}
#: How the names of the files end that such a library puts beside a database.
COMPANIONS = ("-wal", "-shm", "-journal")
GPUS = ("/dev/nvidia", "/dev/kfd", "/dev/dri/")
#: What the kernel calls the files of event loops and their like.
LOOPS = {"eventpoll", "io_uring", "inotify", "timerfd", "signalfd", "eventfd", "fanotify"}


def findings(kept: Collection[int] = ()) -> list[str]:
    """What a fork of this process would inherit that may hurt, a line each.

    Args:
        kept: fds that the user wants to be there: no line is written for sockets and pipes of them.
    """
    own = own_fds() | shed.tracker_fds()
    return [*_threads(), *_fds(kept, own), *_gpu_state(), *_modules()]


def own_fds() -> set[int]:
    """Earlyfork's own fds that are open here: the user need not look after them."""
    found = {default.default_comm(), here.lifeline, here.line, here.up}
    return found.union(
        *map(inside.own_fds, inside.living()), *(watch.own_fds() for watch in linked.watches)
    )


def _threads() -> Iterator[str]:
    native = platform.thread_names()
    if native:
        yield (
            f"threads: {', '.join(native)}: none of them is in the snapshot; pools of BLAS and "
            "OpenMP start anew there, other libraries may wait for theirs for ever: use these "
            "libraries after the fork only"
        )


def _fds(kept: Collection[int], own: Collection[int]) -> Iterator[str]:
    peers, loops = [], []
    for fd in open_fds():
        if fd in own:
            continue
        try:
            mode, name = os.fstat(fd).st_mode, target(fd)
        except OSError:  # closed meanwhile
            continue
        yield from _state_of(fd, mode, name)
        if name.startswith(GPUS):
            yield (
                f"fd {fd}: {name}: a GPU's context does not survive a fork; take the snapshot "
                "before the first use of the GPU"
            )
        elif (
            fd in kept
            or "[pidfd]" in name
            or stat.S_ISREG(mode)
            or stat.S_ISCHR(mode)
            or stat.S_ISDIR(mode)
            or listens(fd)
        ):
            continue
        elif any(word in name for word in LOOPS):
            loops.append(f"{fd} ({name.partition(':')[2].strip('[]') or name})")
        else:
            peers.append(f"{fd} ({'socket' if stat.S_ISSOCK(mode) else 'pipe'})")
    if loops:
        yield (
            f"fds {', '.join(loops)}: an event loop's; dead ends in the snapshot: make the loop in "
            "each process"
        )
    if peers:
        yield (
            f"fds {', '.join(peers)}: what has a peer is a dead end in the snapshot: connect in "
            "each process, pass it with send_fh(), or name it in keep_fds="
        )


def _state_of(fd: int, mode: int, name: str) -> Iterator[str]:
    """What a library or the kernel keeps about an open file, and two processes can't both have."""
    kind = _database(fd, name) if stat.S_ISREG(mode) else ""
    lock = "" if kind else _lock(fd)
    if kind:
        yield (
            f"fd {fd}: {kind} database {name}: its locks and its cache would be shared; "
            "close it before the snapshot and open it in each process"
        )
    elif lock == "POSIX":
        yield (
            f"fd {fd}: a lock (fcntl, lockf) on {name}: it is this process's alone; what comes "
            "from the snapshot does not have it: take it in the process that needs it"
        )
    elif lock:
        yield (
            f"fd {fd}: a lock (flock) on {name}: all that comes from the snapshot holds it, too, "
            "until the last of them ends or closes the file: take it after the snapshot"
        )


def _lock(fd: int) -> str:
    """What kind of lock this process has on an open file, as the kernel calls it; empty: none."""
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            return next((line.split()[2] for line in file if line.startswith("lock:")), "")
    except OSError:  # no /proc, or closed meanwhile
        return ""


def _database(fd: int, name: str) -> str:
    if name.endswith(COMPANIONS):
        return "SQLite"
    if name.endswith(".mdb"):
        return "LMDB"
    try:
        head = os.pread(fd, 32, 0)
    except OSError:  # open for writing only
        return ""
    return next((kind for magic, kind in DATABASES.items() if magic in head), "")


def _gpu_state() -> Iterator[str]:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        yield (
            "torch.cuda is initialised: CUDA refuses to work in a forked process; take the "
            "snapshot before the first use of the GPU"
        )
        return
    try:
        with open("/proc/self/maps") as file:
            loaded = any("/libcuda.so" in line for line in file)
    except OSError:  # no /proc
        return
    if loaded:
        yield (
            "libcuda is loaded: harmless as long as nothing has used the GPU (cuInit); if "
            "something has, take the snapshot before it"
        )


def _modules() -> Iterator[str]:
    for name, variables in READ_AT_IMPORT.items():
        if name in sys.modules:
            yield (
                f"module {name} has read {variables}: a process from this snapshot does not obey "
                f"env= or os.environ in these; set them before the import, or import {name} in "
                "the process"
            )
