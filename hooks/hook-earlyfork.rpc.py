"""PyInstaller hook: all of `earlyfork.rpc`. Workers and clients each load a part of it by name.

This file must not import earlyfork.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.find_spec("earlyfork")
assert _spec is not None  # PyInstaller has found earlyfork.rpc, or it would not run this hook
assert _spec.origin is not None
_folder = Path(_spec.origin).parent / "rpc"

hiddenimports = [f"earlyfork.rpc.{path.stem}" for path in sorted(_folder.glob("_[a-z]*.py"))]
