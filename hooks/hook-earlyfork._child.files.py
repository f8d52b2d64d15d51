"""PyInstaller hook: keeps multiprocessing out of apps that do not use it.

`earlyfork._child.files` imports multiprocessing when it is sent a Connection of multiprocessing. An
app that sends one imports multiprocessing itself. The import in earlyfork alone would bring a
megabyte, and PyInstaller's runtime hook for multiprocessing, into every app.
"""

excludedimports = ["multiprocessing"]
