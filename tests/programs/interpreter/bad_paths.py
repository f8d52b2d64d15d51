"""Asks for what is no path, or no interpreter."""

import earlyfork
import os

missing = FileNotFoundError
for bad, kind in (
    ("python3", ValueError),
    ("", ValueError),
    ("/no/such/python", missing),
    (os.path.abspath("."), missing),
    (os.path.abspath(__file__), missing),
    (b"/usr/bin/python3", TypeError),
    (7, TypeError),
):
    try:
        earlyfork.set_executable(bad)
    except kind as error:
        assert kind is TypeError or kind is ValueError or error.filename == bad, error
    else:
        raise AssertionError(bad)
for bad, kind in (("python3", ValueError), ("", ValueError), (7, TypeError)):
    try:
        earlyfork.new_exec(executable=bad)
    except kind:
        continue
    raise AssertionError(bad)
earlyfork.new().ready(10)  # what was refused changed nothing
