"""The hot path in C (src/quick) where it was built, or None. Everything works without it.

Part of the child's text. EARLYFORK_PURE=1 in the environment leaves it out.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any

quick: Any = None
if not os.environ.get("EARLYFORK_PURE"):
    try:
        from earlyfork import _quick as quick
    except ImportError:  # no compiler there, or another system
        quick = None
