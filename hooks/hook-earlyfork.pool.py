"""PyInstaller hook: all of `earlyfork.pool`. It is loaded by name, in workers and in programs.

This file must not import earlyfork.
"""

from __future__ import annotations

from _earlyfork_pyinstaller import _package

hiddenimports = _package.private("earlyfork.pool")
