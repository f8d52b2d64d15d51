"""PyInstaller hook: keeps multiprocessing out of apps that do not use it.

`earlyfork._child.files` imports it when a multiprocessing Connection was sent, and who sends one
imports it as well. That import alone would bring a megabyte, and PyInstaller's runtime hook for it,
into every app.
"""

excludedimports = ["multiprocessing"]
