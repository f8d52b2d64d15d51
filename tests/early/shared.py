"""What tests of the first line share: a program that tells what became of it, and how to ask."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from support import output_of, run_command

if TYPE_CHECKING:
    from pathlib import Path

IMPORT = "import earlyfork\n"
TELL = "import earlyfork; s = earlyfork.status(); print(s.early, '|', s.reason)\n"


def tell(folder: Path, *words: str | Path, **env: str | None) -> str:
    """What an interpreter prints that is run there; it ends well and says nothing on stderr."""
    return output_of(run_command([sys.executable, *words], directory=folder, env=env))
