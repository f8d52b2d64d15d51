"""What the clones of a template usually do, done once in the template or ahead in its standbys.

Nothing of this is needed for anything but speed: what fails here is left as it is, and whoever
needs it meets the same error and says so.
"""

from __future__ import annotations

import sys

from earlyfork._shared import payloads, wire
from earlyfork._shared.sockets import STREAM, pair

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from earlyfork._child.server import Server

#: Small modules of the stdlib that few programs use, and that import nothing: one of them is loaded
#: in a standby, and dropped.
MODULES = ("keyword", "colorsys", "nturl2path")
#: A name that no module has.
NO_MODULE = "no module of earlyfork's"


def load_unpickler() -> None:
    """Load what unpickles values."""
    try:
        payloads.pickling()
    except Exception:  # there is none here
        return


def warm_finders() -> None:
    """Have the directories of `sys.path` listed, as the first import in each clone would do."""
    try:
        for finder in sys.meta_path:
            if finder.__module__ == "_frozen_importlib_external":  # the stdlib's own
                finder.find_spec(NO_MODULE, None)
    except Exception:  # a hook of the program's: it may say no to what is no module
        return


def prepare(like: Server) -> None:
    """In a standby: obey what prepares a process, so that its memory is this process's own."""
    name = next((name for name in MODULES if name not in sys.modules), "")
    if not name or not all(finder.__module__.startswith(STANDARD) for finder in sys.meta_path):
        return  # a hook of the program's need not see what nobody has asked for
    near, far = pair(STREAM)
    server = type(like)(near, like.commands, like.hear, like.rehearse)
    try:
        code = payloads.pack_values(("<rehearsal>", "pass"))
        frames = wire.frame(wire.REQUIRE, name.encode()) + wire.frame(wire.EVAL, code)
        far.sendall(wire.batch(frames))
        while not server.todo:
            server.read()
        while server.todo:
            op, payload = server.todo.pop()
            server.commands[op](server, payload)
    except Exception:  # no fds, no memory, or no such module
        return
    finally:
        sys.modules.pop(name, None)
        near.close()
        far.close()


#: How the modules of finders begin that do nothing but find: the stdlib's, setuptools', those of
#: packages that are installed as editable, PyInstaller's.
STANDARD = (
    *("_frozen_importlib", "earlyfork._child.late_socket", "_distutils_hack", "__editable__"),
    "pyimod02_importers",
)
