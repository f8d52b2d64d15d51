"""PyInstaller hook: all of `earlyfork.pool`. It is loaded by name, in workers and in programs.

This file must not import earlyfork.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.find_spec("earlyfork")
assert _spec is not None  # PyInstaller has found earlyfork.pool, or it would not run this hook
assert _spec.origin is not None
_folder = Path(_spec.origin).parent / "pool"

hiddenimports = [f"earlyfork.pool.{path.stem}" for path in sorted(_folder.glob("_[a-z]*.py"))]
