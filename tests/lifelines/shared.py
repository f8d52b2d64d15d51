"""What the tests of linked workers share."""

from __future__ import annotations

#: What they may be doing when they should end: the functions of programs/lifelines/linked.py.
LINKED = ("waits", "sleeps", "spins", "ignores_sigterm", "blocks_sigterm", "is_stopped")
