"""PyInstaller hook: all of `earlyfork.rpc`. Workers and clients each load a part of it by name.

This file must not import earlyfork.
"""

from __future__ import annotations

from _earlyfork_pyinstaller import _package

hiddenimports = _package.private("earlyfork.rpc")
