"""No handler of a signal runs while a forker works, but only while it waits.

Code that was sent to a template may have set handlers, and what a handler raises ends the template.
In the middle of a fork that would leave a process that nobody knows, and an fd that nobody closes.
And while the forker sees to a child, the handler's exception would be taken for the child's fault.
"""

from __future__ import annotations

import _signal

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from earlyfork._child.children import Children

#: All signals but those of a crash, which can't be put off.
BLOCKED = _signal.valid_signals() - {
    *(_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT),
}


class Calm:
    """While this is open, signals wait. A new process sets its own mask: see `Server.become`."""

    __slots__ = ("kids", "outermost")

    def __init__(self, kids: Children) -> None:
        self.kids = kids

    def __enter__(self) -> None:
        self.outermost = self.kids.mask is None
        if self.outermost:
            self.kids.mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, BLOCKED)

    def __exit__(self, *_: object) -> None:
        mask = self.kids.mask
        if self.outermost and mask is not None:
            self.kids.mask = None
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
