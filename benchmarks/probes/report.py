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
    carry = ""
    #: Of the template: how many megabytes it holds, and whether its memory is in huge pages.
    holds = 0
    compact = 0


def wish() -> Wish:
    """Read the command line."""
    result = Wish()
    for word in sys.argv[2:]:
        name, _, value = word.partition("=")
        setattr(result, name, type(getattr(Wish, name))(value))
    return result


def ballast(megabytes: int) -> object:
    """Memory in use: every page is there, and none of them is huge (a real heap's are not)."""
    if not megabytes:
        return None
    import mmap

    memory = mmap.mmap(-1, megabytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for place in range(0, megabytes << 20, 4096):
        memory[place] = 1
    return memory


def main(figures: dict[str, Callable[[Wish], dict[str, object]]], warm: int = 5) -> None:
    """Measure the figures that were asked for (`one+another`) and print them."""
    wanted = wish()
    memory = ballast(wanted.megabytes)
    modules = len(sys.modules)
    first = wish()
    first.count = warm
    first.gap = min(first.gap, 0.004)
    found: dict[str, object] = {}
    for name in sys.argv[1].split("+"):
        if warm:
            figures[name](first)
        found |= figures[name](wanted)
    del memory
    import json

    print(json.dumps({"modules": modules, **found}))
