"""What can go wrong, split by whose act it was. Nothing here does anything."""

from __future__ import annotations

from earlyfork._shared.wire import EarlyForkError, ProtocolError

__all__ = [
    "EarlyForkError",
    "EarlyForkWarning",
    "LaunchError",
    "ProcessLost",
    "ProcessStateError",
    "ProtocolError",
    "RemoteError",
    "TemplateDied",
    "TemplateError",
]


class EarlyForkWarning(RuntimeWarning):
    """Something works less well than was asked for; the text says what to do."""


class ProcessStateError(EarlyForkError):
    """A method was called that the process's state does not allow (the caller's mistake)."""


class TemplateError(EarlyForkError):
    """A snapshot was refused: the text names what stands in its way."""


class LaunchError(EarlyForkError):
    """No interpreter could be launched; the text lists what was tried."""


class TemplateDied(EarlyForkError):  # noqa: N818 - says what happened, as BrokenProcessPool does
    """The template from which a process should have been forked is gone."""


class ProcessLost(EarlyForkError):  # noqa: N818
    """Nobody can tell any more how a process ended: its forker was killed before it ended.

    The process itself may live on; `pid` says which one it was.
    """

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class RemoteError(EarlyForkError):
    """Code in a child raised.

    Attributes:
        type_name: the qualified name of the exception's class there.
        remote_traceback: the traceback as it was printed there.
        errno: of an OSError there; else None.
    """

    def __init__(
        self,
        summary: str,
        type_name: str = "",
        remote_traceback: str = "",
        errno: int | None = None,
    ) -> None:
        super().__init__(summary)
        self.type_name = type_name
        self.remote_traceback = remote_traceback
        self.errno = errno

    def __str__(self) -> str:
        text: str = self.args[0]
        if "\n  File " in self.remote_traceback:
            text += "\n\nIn the child:\n" + self.remote_traceback.rstrip()
        elif self.remote_traceback:  # nothing but the same line, and maybe advice
            text = self.remote_traceback.rstrip()
        return text

    def __reduce__(self) -> tuple[type[RemoteError], tuple[str, str, str, int | None]]:
        return type(self), (self.args[0], self.type_name, self.remote_traceback, self.errno)


for _error in (
    EarlyForkError,
    EarlyForkWarning,
    LaunchError,
    ProcessLost,
    ProcessStateError,
    ProtocolError,
    RemoteError,
    TemplateDied,
    TemplateError,
):
    _error.__module__ = "earlyfork"  # where users import them from
