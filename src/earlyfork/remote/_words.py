"""How a Python is started through a command: FIRST, what it reads, and how all that is quoted.

No I/O. FIRST is one argument of a command line that shells of any kind may read on its way, csh's
among them. So it has no quote but the double one, no backslash, no exclamation mark, no newline.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Says the token, which arrives in two halves so that no echo of the command line can be taken for
#: it; then reads eight digits, and a text of that length, and runs that.
_FIRST = """\
import os,select,_imp,_frozen_importlib_external as x
os.set_blocking(0,True)
def r(n):
 b=bytes()
 while len(b)<n:
  select.select([0],[],[])
  d=os.read(0,n-len(b))
  if not d:os._exit(0)
  b+=d
 return b
w=a[1]+a[2],x.MAGIC_NUMBER.hex(),_imp.extension_suffixes()[0],chr(10)
t=os.isatty(0)or os.isatty(1)
os.write(1,chr(32).join(t and(w[0],a[4],w[3])or w).encode())
t and os._exit(0)
exec(r(int(r(8))))
"""
#: It parses from Python 2.7 on, and runs from 3.10 on.
FIRST = (
    "import sys;a=sys.argv;sys.version_info<(3,10)and sys.exit(a[3]+sys.version.split()[0]);"
    'exec("' + _FIRST.replace("\n", "|") + '".replace("|",chr(10)))'
)
#: What FIRST says instead of going on.
TOO_OLD = "earlyfork needs Python 3.10 or later on that machine; this is "
ON_TERMINAL = "terminal"
TERMINAL = (
    "there is a terminal in between, which changes the bytes that pass; have the command make none "
    "(ssh -T, docker exec -i without -t)"
)
#: What it reads: moves the two streams out of reach of whoever prints there, loads the part in C if
#: it was sent, and goes on as every launched interpreter does.
SECOND = """\
import marshal,gc,zlib
d=r(int(r(8)))
g=gc.isenabled()
gc.disable()
import _frozen_importlib as y
c,s,n=os.dup(0),os.dup(1),os.open(os.devnull,os.O_RDWR)
os.dup2(n,0)
os.dup2(2,1)
os.close(n)
h,l,k=marshal.loads(zlib.decompress(d))
if k:
 try:
  n=os.memfd_create('earlyfork')
  with open(n,'wb',closefd=False)as f:f.write(k)
  q=_imp.create_dynamic(y.ModuleSpec('earlyfork._quick',None,origin='/proc/self/fd/%d'%n))
  _imp.exec_dynamic(q)
  q.__file__=''
  sys.modules['earlyfork._quick']=q
 except (ImportError,OSError,AttributeError):pass
 os.close(n)
del d,k
"""

#: Commands that join their words to one line for a shell over there.
_JOIN = {"ssh", "slogin", "rsh", "dbclient", "plink", "autossh", "gcloud"}


def words_of(command: Sequence[str] | str, what: str = "command") -> list[str]:
    """A command's words.

    Raises:
        TypeError: it is no sequence of str.
        ValueError: it is empty, or has a NUL.
    """
    if isinstance(command, str | bytes):
        raise TypeError(f"a {what} is a list of words, not {command!r}; shlex.split() makes one")
    words = [os.fspath(word) for word in command]
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"a {what} is a list of str, not {words!r}")
    if not words:
        raise ValueError(f"a {what} has one word at least")
    if any("\0" in word for word in words):
        raise ValueError("embedded null byte")
    return words


def start(python: Sequence[str], halves: tuple[str, str]) -> list[str]:
    """The words that start a Python which will say this token."""
    return [*python, "-c", FIRST, *halves, TOO_OLD, ON_TERMINAL]


def how_often(command: Sequence[str], *, shell: bool | None) -> int:
    """Through how many shells the words pass that are added to a command.

    ssh joins its words to one line, for a shell over there; so does each further ssh behind that.
    `sh -c` and `su -c` take one line. All else (sudo, docker exec, env) hands words on.
    """
    if shell is not None:
        return int(shell)
    names = [os.path.basename(word) for word in command]
    found = 0
    for place, name in enumerate(names):
        if name in _JOIN and (place == 0 or names[place - 1] not in _JOIN):
            found += 1
    return found or int(names[-1] == "-c")


def line(command: Sequence[str], words: Sequence[str], *, shell: bool | None) -> list[str]:
    """A command with words added to it, quoted so that they arrive as they are."""
    times = how_often(command, shell=shell)
    if not times:
        return [*command, *words]
    joined = shlex.join(words)
    for _ in range(times - 1):
        joined = shlex.quote(joined)
    return [*command, joined]


def shell_line(words: Sequence[str]) -> bytes:
    """The same as a line for a shell that reads its input."""
    return b"exec " + os.fsencode(shlex.join(words)) + b"\n"
