"""Plain values: those that travel by `marshal`, which every interpreter has loaded.

A value is plain if all of it is Python's own: None, bool, int, float, complex, str, bytes, and
tuples, lists, dicts, sets and frozensets of plain values. What pickle would do in another way is
not plain: an instance of a subclass, a value that contains itself. So who receives a plain value
can't tell by which of the two it came.
"""

from __future__ import annotations

import marshal

from earlyfork._shared.quick import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: Of marshal's format. It keeps which parts of a value are one and the same object, as pickle does,
#: and every Python from 3.4 on reads it.
FORMAT = 4
#: How deep a plain value may be nested.
DEEPEST = 32
#: A larger value is pickled: to look at each of its parts would take longer. The part in C looks at
#: values of any size.
MOST_PARTS = 200
_SIMPLE = frozenset((type(None), bool, int, float, complex, str, bytes))
_CONTAINERS = frozenset((tuple, list, dict, set, frozenset))


def _is_plain(value: object) -> bool:
    left = MOST_PARTS
    level: list[Iterable[Any]] = [(value,)]
    for _ in range(DEEPEST + 1):
        below: list[Iterable[Any]] = []
        for parts in level:
            for part in parts:
                kind = type(part)
                if kind in _SIMPLE:
                    continue
                left -= len(part) if kind in _CONTAINERS else left + 1
                if left < 0:
                    return False
                below.append(part)
                if kind is dict:
                    below.append(part.values())
        if not below:
            return True
        level = below
    return False


def _in_python(value: Any) -> bytes | None:
    return marshal.dumps(value, FORMAT) if _is_plain(value) else None


#: What marshal makes of a plain value; None for any other value.
pack_plain: Callable[[Any], bytes | None] = _in_python if quick is None else quick.plain


def unpack_plain(data: bytes) -> object:
    """The inverse of `pack_plain`."""
    return marshal.loads(data)
