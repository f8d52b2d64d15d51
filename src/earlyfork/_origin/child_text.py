"""The child's half as text: what a launched interpreter is sent instead of importing earlyfork.

That interpreter needs no earlyfork of its own, nor one of the same version. It is started with
FIRST, which reads BOOT, which reads the modules.
"""

from __future__ import annotations

import importlib
import marshal
import sys
from _frozen_importlib_external import MAGIC_NUMBER

from earlyfork._ground import frozen
from earlyfork._shared.quick import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any

#: The child's text, in the order of its imports.
TEXTS = (
    *("_shared.wire", "_shared.quick", "_shared.plain", "_shared.payloads", "_context"),
    "_shared.posix",
    *("_shared.sockets", "_shared.surroundings", "_shared.huge"),
    *("_child.rights", "_child.foreign", "_child.calm", "_child.compact"),
    *("_child.descendants", "_child.linked", "_child.children", "_child.here"),
    *(
        "_child.open_files",
        "_child.ending",
        "_child.guard",
        "_child.late_socket",
        "_child.files",
        "_child.habits",
        "_child.nursery",
        "_child.rehearsal",
        "_child.server",
    ),
    *(
        "_child.executing",
        "_child.spawning",
        "_child.commands",
        "_child.hearing",
        "_child.quick_loop",
        "_child.root",
    ),
)

#: Reads and runs BOOT: the code of it in an interpreter of the same version, else the source. It is
#: short, since `ps` shows it.
FIRST = (
    "import sys\nsys.version_info<(3,10)and sys.exit('earlyfork needs Python 3.10 or later')\n"
    "import os,marshal as m,_frozen_importlib_external as x;"
    "s,c=(os.read(int(sys.argv[1]),int(n))for n in sys.argv[3:5]);"
    "exec(m.loads(c)if c and x.MAGIC_NUMBER.hex()==sys.argv[5]else s,{})"
)
#: Reads two marshalled things, each behind eight bytes of length, and serves. The first is (magic,
#: path, environment, file of _quick, alone, [(name, file, source)]). The second is the code of the
#: same modules, for interpreters of the same version. An interpreter of another build does without
#: _quick. The package `earlyfork` exists while the texts are run, and not after. So an installed
#: one can be imported later, and finds these modules and their folders loaded. The package also
#: stands for `__future__` while the texts import that, which is one file less to find.
_READS = """\
import sys,os,marshal,gc
g=gc.isenabled()
gc.disable()
import _imp,_frozen_importlib as y,_frozen_importlib_external as x
c,s=map(int,sys.argv[1:3])
def r(n):
 b=[]
 while n:
  d=os.read(c,n)
  if not d:os._exit(1)
  b.append(d)
  n-=len(d)
 return b''.join(b)
h,l=(r(int.from_bytes(r(8),'big'))for _ in'12')
"""
#: What follows when both are read. Whoever has read them by other means begins here, with `c`, `s`,
#: `g` and the modules that `_READS` imports.
RUNS = """\
m,p,e,z,a,t=marshal.loads(h)
if m==x.MAGIC_NUMBER:
 l=marshal.loads(l)
 if p:sys.path[:]=p
else:l=[compile(__import__('zlib').decompress(w)if type(w)is bytes else w,f,'exec')for _,f,w in t]
u=sys.modules
def j(n):
 q=u[n]=type(sys)(n)
 q.__path__=[]
 return q
p=j('earlyfork')
p.annotations=None
f=u.setdefault('__future__',p)is p
if z and z.endswith(_imp.extension_suffixes()[0]):
 try:
  q=_imp.create_dynamic(y.ModuleSpec('earlyfork._quick',None,origin=z))
  _imp.exec_dynamic(q)
  q.__file__=z
  p._quick=u[q.__name__]=q
 except ImportError:pass
for w,o in zip(t,l):
 q=type(sys)('earlyfork.'+w[0])
 q.__file__=w[1]
 d,_,b=q.__name__.rpartition('.')
 q.__package__=d
 q.__text__=w,o
 u[q.__name__]=q
 exec(o,q.__dict__)
 setattr(u[d]if d in u else j(d),b,q)
del u['earlyfork']
if f:del u['__future__']
gc.freeze()
if g:gc.enable()
q.serve_launched(c,s,e,alone=a)
"""
BOOT = _READS + RUNS


class _Text:
    """What is sent and does not change from one launch to the next; filled at the first one."""

    boot = codes = b""
    sources: tuple[tuple[str, str, str | bytes], ...] = ()


def boot(comm: int, status: int) -> tuple[bytes, list[str]]:
    """What is sent first, and the arguments that make an interpreter read it from `comm`."""
    if not _Text.boot:
        _Text.boot = marshal.dumps(compile(BOOT, "<earlyfork>", "exec", dont_inherit=True))
    source, code = BOOT.encode(), _Text.boot
    numbers = map(str, (comm, status, len(source), len(code)))
    return source + code, ["-c", FIRST, *numbers, MAGIC_NUMBER.hex()]


def modules(env: dict[bytes, bytes], *, alone: bool) -> Iterator[bytes]:
    """The child's half as BOOT reads it: as source, and as code for this very version.

    Args:
        env: the environment that the interpreter was started with.
        alone: whether a single process will be forked from it.
    """
    if not _Text.codes:
        _Text.sources, codes = zip(*_read_modules(), strict=True)
        _Text.codes = marshal.dumps([*codes])
    # A freezer's path means nothing to an interpreter.
    foreign = frozen.owns_path()
    path = [] if foreign else [str(entry) for entry in sys.path]
    in_c = "" if foreign or quick is None else quick.__file__
    head = (MAGIC_NUMBER, path, env, in_c, alone, _Text.sources)
    for part in (marshal.dumps(head), _Text.codes):
        yield len(part).to_bytes(8, "big")
        yield part


def elsewhere(given: Any, more: tuple[str, ...], *, as_code: bool) -> tuple[bytes, bytes]:
    """What `RUNS` is given on a machine that shares nothing with this one.

    Args:
        given: what `serve_launched` of the last module is called with, of marshal's types.
        more: modules to run after the child's half.
        as_code: whether the interpreter there runs code of this one's version; else it gets
            sources.
    """
    sources, codes = zip(*_read_modules((*TEXTS, *more)), strict=True)
    if as_code:
        sources = tuple((name, file, "") for name, file, _ in sources)
    head: Any = (MAGIC_NUMBER, [], given, "", False, sources)
    return marshal.dumps(head), marshal.dumps([*codes]) if as_code else b""


def _read_modules(
    names: tuple[str, ...] = TEXTS,
) -> Iterator[tuple[tuple[str, str, str | bytes], CodeType]]:
    for name in names:
        module = importlib.import_module(f"earlyfork.{name}")
        if "__text__" in module.__dict__:  # launched itself, this process hands on what it was sent
            yield module.__dict__["__text__"]
            continue
        loader = module.__spec__.loader  # type: ignore[union-attr]
        try:
            source = loader.get_source(module.__name__)  # type: ignore[union-attr]
        except ImportError as error:
            raise (error.__cause__ or error) from None  # say, there is no fd left to read the file
        code = loader.get_code(module.__name__)  # type: ignore[union-attr]
        yield (name, module.__file__ or name, _packed(source)), code


def _packed(source: str) -> str | bytes:
    """The source, compressed where that can be done.

    Few interpreters need the source. But all of the text has to fit into a socket's buffer, or a
    launch would wait until the interpreter reads.
    """
    try:
        import zlib
    except ImportError:
        return source
    return zlib.compress(source.encode(), 1)
