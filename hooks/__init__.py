"""Tells PyInstaller where the hooks for earlyfork are. Must not import earlyfork.

This is installed as the top-level package `_earlyfork_pyinstaller`, and found by the entry points
of the group `pyinstaller40`. It is no part of the package `earlyfork`: PyInstaller imports what an
entry point names, and the import of earlyfork could fork a template in the build.
"""

from __future__ import annotations

import os

_HERE = os.path.dirname(os.path.abspath(__file__))


def get_hook_dirs() -> list[str]:
    """The directory with `hook-earlyfork.py` and `rthooks.dat`."""
    return [_HERE]


def get_test_dirs() -> list[str]:
    """The directory with the tests that PyInstaller's own `run_tests` collects."""
    return [os.path.join(_HERE, "tests")]
