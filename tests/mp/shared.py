"""What the tests of the start method share: how a program of theirs begins.

Every program is a process of its own, and is run in two origins: with `import earlyfork` as its
first line ("early"), and without an early template ("launched"). It must exit with status 0 and
leave stderr empty: that is how a leaked semaphore, or a resource tracker that complains, shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import support

if TYPE_CHECKING:
    from collections.abc import Callable

    #: The fixtures `run` and `run_file`.
    Say = Callable[..., str]

HEAD = """\
import multiprocessing as mp
import multiprocessing.connection
import os, signal, sys, threading
import earlyfork.mp
ctx = mp.get_context("earlyfork")
"""


#: The first line of a program. Without the variable, the import of earlyfork.mp by the main program
#: would fork an early template as well.
FIRST = {
    "early": "import earlyfork\n",
    "launched": 'import os; os.environ["EARLYFORK"] = "0"\n',
}


def begin(origin: str, source: str) -> str:
    """A program whose processes come from an early template, or from one that is launched."""
    return FIRST[origin] + source


def text(origin: str, defines: str, does: str = "") -> str:
    """A program made of what it defines, and what it then does under a guard."""
    body = "".join(f"    {line}\n" for line in does.splitlines())
    guarded = f'if __name__ == "__main__":\n{body}' if does else ""
    return begin(origin, f"{HEAD}{defines}\n{guarded}")


def program(origin: str, name: str) -> str:
    """A program of tests/programs/mp."""
    return begin(origin, support.program(f"mp/{name}"))
