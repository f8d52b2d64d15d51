"""What a call may end with beside its own result or error."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import NamedTuple

from earlyfork import EarlyForkError


class CallCancelled(CancelledError, EarlyForkError):  # noqa: N818 - as CancelledError
    """The call was cancelled. In the worker: raised in the function that runs."""


class CallTimeout(TimeoutError, EarlyForkError):  # noqa: N818 - as TimeoutError
    """The call took longer than its timeout."""


class LostCall(NamedTuple):
    """A call that a dead worker did not answer."""

    id: int
    name: str
    begun: bool | None


class WorkerDied(EarlyForkError):  # noqa: N818 - says what happened, as BrokenProcessPool does
    """The worker ended before it answered.

    Attributes:
        pid: the worker's.
        returncode: its exit status, or minus the signal's number; None if nobody can know.
        calls: the calls that were lost, in the order in which they were made.
        begun: whether the call that this is raised for had begun; None if nobody can know.
        stderr: what is known of its last words: the traceback of what ended it.
    """

    def __init__(
        self,
        message: str,
        pid: int | None = None,
        returncode: int | None = None,
        calls: tuple[LostCall, ...] = (),
        begun: bool | None = None,  # noqa: FBT001 - as exceptions are made
        stderr: str = "",
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.returncode = returncode
        self.calls = calls
        self.begun = begun
        self.stderr = stderr

    def __str__(self) -> str:
        text: str = self.args[0]
        return f"{text}\n\nIts last words:\n{self.stderr.rstrip()}" if self.stderr else text

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[object, ...]]:
        return type(self), (
            *(self.args[0], self.pid, self.returncode, self.calls, self.begun, self.stderr),
        )


for _error in (CallCancelled, CallTimeout, LostCall, WorkerDied):
    _error.__module__ = "earlyfork.rpc"  # where users import them from
