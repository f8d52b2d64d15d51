"""The part in C (src/quick), or None where it was not built: everything works without it.

EARLYFORK_PURE=1 in the environment leaves it out.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any

quick: Any = None
LEFT_OUT = "EARLYFORK_PURE is set"
#: Why it is not used, in these words or in those of the import system.
why_not = LEFT_OUT
if not os.environ.get("EARLYFORK_PURE"):
    try:
        from earlyfork import _quick as quick
    except ImportError as error:  # no compiler there, or another system
        quick = None
        why_not = str(error)
