"""Launch an interpreter, or the frozen app's binary, as a root template.

What is launched needs no earlyfork of its own: the child's text travels over the socket. It forks
itself free of the host at once, so the only direct child is one that ends by itself in a moment.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import sys

from earlyfork import _context, _frozen, _interpreter, _platform
from earlyfork._errors import LaunchError
from earlyfork._hot import quick

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

#: The child's text, in the order of its imports.
TEXTS = (
    *("_wire", "_hot", "_context", "_tree", "_children", "_here", "_leave", "_guard"),
    *("_later", "_obey", "_serve", "_quickly", "_root"),
)

#: Reads and runs BOOT, as code if this is an interpreter of the same version. Short, since `ps`
#: shows it.
FIRST = (
    "import os,sys,marshal as m,_frozen_importlib_external as x;"
    "s,c=(os.read(int(sys.argv[1]),int(n))for n in sys.argv[3:5]);"
    "exec(m.loads(c)if c and x.MAGIC_NUMBER.hex()==sys.argv[5]else s,{})"
)
#: Reads two marshalled things, each behind eight bytes of length, and serves: (magic, path,
#: environment, file of _quick, alone, [(name, file, source)]), and the code of the same modules,
#: which is for interpreters of the same version. One of another build does without _quick.
#: The package `earlyfork` is there while the texts are run and not after, so that an installed one
#: can be imported later, which then finds these modules already loaded. It is also what the texts
#: import from `__future__`, which is one file less to find.
BOOT = """\
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
m,p,e,z,a,t=marshal.loads(h)
if m==x.MAGIC_NUMBER:
 l=marshal.loads(l)
 if p:sys.path[:]=p
else:l=[compile(__import__('zlib').decompress(w)if type(w)is bytes else w,f,'exec')for _,f,w in t]
p=type(sys)('earlyfork')
p.__path__=[]
p.annotations=None
u=sys.modules
u['earlyfork']=p
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
 q.__package__='earlyfork'
 q.__text__=w,o
 u[q.__name__]=q
 exec(o,q.__dict__)
 setattr(p,w[0],q)
del u['earlyfork']
if f:del u['__future__']
gc.freeze()
if g:gc.enable()
q.serve_launched(c,s,e,alone=a)
"""


class Launched:
    """The launching side's end of a root template, and the process that started it."""

    __slots__ = ("baseline", "choice", "comm", "starter", "status")

    def __init__(self, choice: _interpreter.Choice) -> None:
        self.choice = choice
        self.baseline = _context.Context()
        self.starter = self.comm = self.status = -1


def launch(
    choice: _interpreter.Choice, env: dict[str, str] | None = None, *, alone: bool = False
) -> Launched:
    """Start a root template; does not wait for it.

    Args:
        choice: what to start.
        env: its environment, if not this process's own.
        alone: whether a single process will come from it.

    Raises:
        LaunchError: the program can't be executed; names its path and the system's reason.
        OSError: no fd or no process to be had.
    """
    tidy()
    try:
        return _start(choice, env, alone=alone)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"{choice} can't be launched: {reason}") from error


def _start(choice: _interpreter.Choice, env: dict[str, str] | None, *, alone: bool) -> Launched:
    import subprocess  # here, since most programs never get here

    result = Launched(choice)
    environment = dict(os.environ) if env is None else dict(env)
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:

        def pair() -> tuple[int, int]:
            near, far = (_platform.above_streams(s.detach()) for s in _socket.socketpair())
            ours.callback(os.close, near)
            theirs.callback(os.close, far)
            return near, far

        result.comm, comm = pair()
        result.status, status = pair()
        os.set_blocking(result.status, False)
        os.set_blocking(status, False)
        boot = b""
        if choice.frozen:
            command = [choice.path]
            environment = _frozen.launch_environment(environment)
            marker = f"{comm}:{status}:{os.getpid()}"
            if _frozen.wants_own_directory(environment):
                marker += f"/{_frozen.OWN_DIRECTORY}"
            environment[_frozen.MARKER] = marker
        else:
            environment = _frozen.plain_environment(environment)
            boot, magic = boot_code()
            words = [*map(str, (comm, status, len(BOOT), len(boot))), magic.hex()]
            command = [choice.path, *interpreter_flags(), "-c", FIRST, *words]
        try:
            process = subprocess.Popen(command, env=environment, pass_fds=(comm, status))
        except OSError as error:
            if error.filename is None:  # not the file's fault: no process, no memory, no fd
                raise
            raise LaunchError(
                f"{choice} can't be executed: {error.strerror} (errno {error.errno})"
            ) from error
        if choice.frozen and _frozen.wants_own_directory(environment):
            _left.add(process.pid)  # its bootloader, which stays as long as the directory
        else:
            result.starter = process.pid
        process.returncode = 0  # waited for by its pid, in `collect`
        theirs.close()
        if boot:  # to be read when it has started
            try:
                raw = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
                result.baseline.env = raw
                _send_all(
                    result.comm, b"".join((BOOT.encode(), boot, *child_text(raw, alone=alone)))
                )
            except BaseException:  # no memory, Ctrl-C: it sees the end of its text, and ends
                _left.add(process.pid)
                raise
        ours.pop_all()
    return result


def interpreter_flags() -> list[str]:
    """The command line options that make an interpreter like this one."""
    import subprocess

    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    for name, value in sys._xoptions.items():  # of these it knows but some
        option = name if value is True else f"{name}={value}"
        if option not in flags:
            flags += ["-X", option]
    return flags


def _send_all(fd: int, data: bytes) -> None:
    """Send the child's text; an interpreter that is gone already is noticed elsewhere."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        sock.sendall(data, getattr(_socket, "MSG_NOSIGNAL", 0))
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        sock.detach()


#: Starters whose root nobody watches any more: waited for when earlyfork is next asked something.
_left: set[int] = set()


def leave(starter: int) -> None:
    """Stop watching a root whose starter may still run."""
    if collect(starter, block=False) is None:
        _left.add(starter)


def tidy() -> None:
    """Wait for those that have ended meanwhile."""
    for starter in list(_left):
        if collect(starter, block=False) is not None:
            _left.discard(starter)


def collect(starter: int, *, block: bool) -> int | None:
    """Wait for a starter: its exit status, None while it runs or if somebody else took it."""
    try:
        pid, status = os.waitpid(starter, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if pid else None


def packed(source: str) -> str | bytes:
    """The source, compressed where that can be done.

    Few need it, and all has to fit into a socket's buffer (219 kB here, of which it leaves 30 for
    the environment): else a launch would wait for the interpreter to begin.
    """
    try:
        import zlib
    except ImportError:
        return source
    return zlib.compress(source.encode(), 1)


class _Text:
    """What stays the same of what is sent."""

    boot = codes = b""
    sources: tuple[tuple[str, str, str | bytes], ...] = ()


def boot_code() -> tuple[bytes, bytes]:
    """BOOT as code, and the version of Python that it is for."""
    import marshal
    from importlib.util import MAGIC_NUMBER

    if not _Text.boot:
        _Text.boot = marshal.dumps(compile(BOOT, "<earlyfork>", "exec", dont_inherit=True))
    return _Text.boot, MAGIC_NUMBER


def child_text(env: dict[bytes, bytes], *, alone: bool = False) -> Iterator[bytes]:
    """The child's half as BOOT reads it: as source, and as code for this very version."""
    import marshal
    from importlib.util import MAGIC_NUMBER

    if not _Text.codes:
        _Text.sources, codes = zip(*_read_modules(), strict=True)
        _Text.codes = marshal.dumps([*codes])
    # A freezer's path means nothing to an interpreter.
    foreign = _frozen.owns_path()
    path = [] if foreign else [str(entry) for entry in sys.path]
    in_c = "" if foreign or quick is None else quick.__file__
    head = (MAGIC_NUMBER, path, env, in_c, alone, _Text.sources)
    for part in (marshal.dumps(head), _Text.codes):
        yield len(part).to_bytes(8, "big")
        yield part


def _read_modules() -> Iterator[tuple[tuple[str, str, str | bytes], CodeType]]:
    import importlib

    for name in TEXTS:
        module = importlib.import_module(f"earlyfork.{name}")
        if "__text__" in module.__dict__:  # launched ourselves: hand on what we were handed
            yield module.__dict__["__text__"]
            continue
        loader = module.__spec__.loader  # type: ignore[union-attr]
        try:
            source = loader.get_source(module.__name__)  # type: ignore[union-attr]
        except ImportError as error:
            raise (error.__cause__ or error) from None  # no fd left to read it, say
        code = loader.get_code(module.__name__)  # type: ignore[union-attr]
        yield (name, module.__file__ or name, packed(source)), code
