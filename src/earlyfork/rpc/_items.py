"""The client's half of a stream: what is the same however its items are waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earlyfork.rpc import _wire as wire

if TYPE_CHECKING:
    from earlyfork.rpc._line import Line


class BaseStream:
    """What a generator over there yields."""

    def __init__(
        self, line: Line, slot: Any, fn: Any, args: Any, kwargs: Any, *, window: int
    ) -> None:
        if window < 1:
            raise ValueError("window is a number of items, at least 1")
        slot.window = window
        self._line: Any = line
        self._slot = slot
        self._taken = 0
        self._over = True
        line._begin(slot, wire.STREAM, fn, args, kwargs)
        self._over = False

    def _take(self, stop: type[Exception]) -> Any:
        """The next item, which has come if there is one; at the end raises `stop`."""
        slot = self._slot
        if not slot.items:
            self._over = True
            self._line._session.outcome(slot)
            raise stop
        frame = slot.items.popleft()
        self._taken += 1
        if self._taken * 2 >= slot.window and slot.message is None:
            self._line._tell(wire.CREDIT, slot.ident, self._taken)
            self._taken = 0
        return self._line._session.load(frame)

    def _end(self) -> None:
        slot = self._slot
        if not self._over and slot.message is None:
            slot.reason = "close"
            self._line._forget(slot)
            self._line._tell(wire.CANCEL, slot.ident, 0)
        self._over = True
        slot.items.clear()

    def __del__(self) -> None:
        slot = self._slot
        if not self._over and slot.message is None:
            slot.reason = "close"
            slot.items.clear()
            self._line._dropped.append(slot)  # told with what is sent next: no I/O in here
