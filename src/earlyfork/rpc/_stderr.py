"""The last words of workers: what they write to stderr, passed on at once, and its end remembered.

A pipe that the client read itself would be read only while somebody waits for the client: until
then nobody would see what a worker says, and one that says much would stand still. And a thread in
the user's program is out of the question. So the *keeper* reads, a process of earlyfork's own, one
for all clients that ask for it. It is a worker like others, and runs `_stderr_there`. It ends with
the last of those clients, and when all that its pipes were for have ended.
"""

from __future__ import annotations

import os
import threading
import weakref
from itertools import count
from posix import close
from typing import TYPE_CHECKING, Any

import earlyfork
from earlyfork.rpc._errors import WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Client(Protocol):
        """A client of `earlyfork.rpc`, as far as it is used here."""

        @property
        def process(self) -> earlyfork.Process: ...
        def post(self, fn: Any, /, *args: Any) -> None: ...
        def submit(self, fn: Any, /, *args: Any) -> Any: ...
        def fileno(self) -> int: ...


#: What `stderr` of a client may be.
CHOICES = (None, "keep")

_numbers = count(1)


class _Keeper:
    """The process, as long as somebody uses it."""

    making = threading.Lock()
    only: weakref.ref[_Keeper] | None = None

    def __init__(self, new_client: Callable[..., Client]) -> None:
        # Not linked: it ends when it has passed on what is in its pipes, and not before.
        self.client = new_client(earlyfork.new(), "earlyfork.rpc._stderr_there", linked=False)


def _keeper(new_client: Callable[..., Client]) -> _Keeper:
    with _Keeper.making:
        found = _Keeper.only and _Keeper.only()
        if not found or found.client.process.poll() is not None:
            found = _Keeper(new_client)
            _Keeper.only = weakref.ref(found)
        return found


class LastWords:
    """The stderr of one worker. The keeper passes it on to what is stderr here and now."""

    def __init__(self, new_client: Callable[..., Client]) -> None:
        self._keeper = _keeper(new_client)
        self._number = next(_numbers)
        readable, self._writable = os.pipe()
        with open(readable, "rb", buffering=0) as pipe:
            try:
                out: Any = open(os.dup(2), "wb", buffering=0)
            except OSError:  # there is none
                out = None
            try:
                self._keeper.client.post("keep", self._number, pipe, out)
            finally:
                if out is not None:
                    out.close()

    def take(self) -> int:
        """The fd for the worker to write to, which is the caller's from now on."""
        fd, self._writable = self._writable, -1
        return fd

    def ask(self) -> Any:
        """Ask for the last words of a worker that has ended; None if the keeper has, too."""
        try:
            return self._keeper.client.submit("tail", self._number)
        except (WorkerDied, earlyfork.ProcessStateError):
            return None

    def fileno(self) -> int:
        """The fd at which the answer comes."""
        return self._keeper.client.fileno()

    def told(self, call: Any) -> str:
        """What was answered."""
        try:
            return "" if call is None else bytes(call.result()).decode(errors="replace")
        except WorkerDied:
            return ""

    def __del__(self) -> None:
        if self.__dict__.get("_writable", -1) >= 0:
            close(self.take())


def last_words(
    stderr: str | None, process: earlyfork.Process, new_client: Callable[..., Client]
) -> LastWords | None:
    """What a client's `stderr` asks for; the keeper is made by `new_client`.

    Raises:
        ValueError: it is none of CHOICES, or the process is on another machine.
    """
    if stderr not in CHOICES:
        raise ValueError(f'stderr is None (as it is) or "keep", not {stderr!r}')
    if stderr == "keep" and process.is_far:
        raise ValueError(
            "the stderr of a process on another machine comes over its connection: see on_stderr "
            "of earlyfork.remote.connect"
        )
    return LastWords(new_client) if stderr == "keep" else None


def _after_fork_in_child() -> None:
    """In the host's own child: the keeper is its parent's."""
    _Keeper.making, _Keeper.only = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork_in_child)
