"""How a probe is called and how it answers.

    python probe.py FIGURE [name=value ...]

A probe is one process that measures one figure and prints one JSON object: lists of samples in
seconds, and what is to be known about its process. json is loaded after the measuring only, since
each module that is loaded makes each fork dearer.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Wish:
    """What the harness asked for."""

    count = 1
    gap = 0.0
    megabytes = 0
    width = 16
    method = ""


def wish() -> Wish:
    """Read the command line."""
    result = Wish()
    for word in sys.argv[2:]:
        name, _, value = word.partition("=")
        setattr(result, name, type(getattr(Wish, name))(value))
    return result


def ballast(megabytes: int) -> object:
    """Memory in use: every page touched, and none of them huge (a real heap's are not)."""
    if not megabytes:
        return None
    import mmap

    memory = mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    block = b"x" * (1 << 20)
    for _ in range(megabytes):
        memory.write(block)
    return memory


def main(figures: dict[str, Callable[[Wish], dict[str, object]]], warm: int = 5) -> None:
    """Measure the figure that was asked for and print it."""
    wanted = wish()
    memory = ballast(wanted.megabytes)
    modules = len(sys.modules)
    figure = figures[sys.argv[1]]
    if warm:
        first = Wish()
        first.method = wanted.method
        first.gap = wanted.gap
        first.count = warm
        figure(first)
    found = figure(wanted)
    del memory
    import json

    print(json.dumps({"modules": modules, **found}))
