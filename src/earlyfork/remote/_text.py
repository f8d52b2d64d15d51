"""What an interpreter on another machine is sent: the agent with the child's half, and the package.

All of it is read here, in the relay, and compressed. There nothing of it needs a file.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import marshal
import zlib

from earlyfork._origin import child_text
from earlyfork._shared.quick import quick
from earlyfork.remote import _sources, _words

#: The agent's part, in the order of its imports.
AGENT = ("remote._wire", "remote._mux", "remote._finder", "remote._agent")
#: What no worker on another machine needs of the package.
_LEFT_OUT = ("earlyfork.mp", "earlyfork.command", "earlyfork.aio", "earlyfork.__main__")


def boot(
    magic: str, suffix: str, silence: float, texts: dict[str, tuple[bool, str, bytes]]
) -> bytes:
    """What FIRST reads, for an interpreter that has said this of itself.

    Args:
        magic: the number of its version's code, in hex.
        suffix: what its extension modules' names end with.
        silence: for the agent.
        texts: modules to have at hand.
    """
    same = magic == importlib.util.MAGIC_NUMBER.hex()
    parts = child_text.elsewhere((silence, texts), AGENT, as_code=same)
    in_c = b""
    # One that came over a connection itself has no file.
    if quick is not None and quick.__file__ and suffix == importlib.machinery.EXTENSION_SUFFIXES[0]:
        with open(quick.__file__, "rb") as file:
            in_c = file.read()
    second = (_words.SECOND + child_text.RUNS).encode()
    rest = zlib.compress(marshal.dumps((*parts, in_c)), 6)
    return b"%08d%b%08d%b" % (len(second), second, len(rest), rest)


def package() -> dict[str, tuple[bool, str, bytes]]:
    """This package's own modules: what workers there may import (rpc, and `new` by way of it)."""
    return _sources.sources("earlyfork", _LEFT_OUT)
