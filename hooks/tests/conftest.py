"""PyInstaller's fixtures; they build a program and run it with no PATH."""

from PyInstaller.utils.conftest import *  # noqa: F403 - how PyInstaller says to do it
