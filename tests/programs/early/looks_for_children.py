"""Waits for a child before, beside and after a process."""

import earlyfork
import os


def look():
    try:
        print(os.wait())
    except ChildProcessError:
        print("none")


look()
process = earlyfork.new().ready(10)
look()
process.run("builtins.id")
look()
process.wait(10)
look()
