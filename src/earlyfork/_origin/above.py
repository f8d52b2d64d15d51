"""How a process that earlyfork made gets processes: it asks its own forker, by its way up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from earlyfork._child.here import here, tell
from earlyfork._ground import stack
from earlyfork._ground.errors import TemplateDied
from earlyfork._owner.own import Own, pairs
from earlyfork._owner.process import Process
from earlyfork._owner.watch import Watch
from earlyfork._shared import wire

if TYPE_CHECKING:
    from earlyfork._context import Context


class Above:
    """A template as seen from a process that earlyfork made: it is asked through the forker."""

    def __init__(self, baseline: Context | None, op: int = wire.NEW) -> None:
        self.baseline = baseline
        self._op = op

    def fork(self) -> Process:
        """A new process: off the clean template that this one descends from, or off its forker.

        Raises:
            TemplateDied: this process's forker is gone; or hears it no more, since it said what it
                may not say; or the process runs alone (`run(alone=True)`).
            OSError: no fd to be had here.
        """
        comm, watch, far = Own(), Watch(), [Own(), Own()]
        pairs(comm, watch, *far)
        try:
            tell(self._op, b"", [own.fd for own in far])
        except OSError as error:
            stack.pass_on(error)
            raise TemplateDied(
                f"no process can be asked for: {error}"
                if here.up < 0
                else f"the template of this process is gone, or hears it no more: {error}"
            ) from error
        return Process(comm, watch, "nested")
