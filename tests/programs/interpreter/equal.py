"""Compares itself with what it launches; earlyfork lies in FOLDER."""

import sys

sys.path.insert(0, sys.argv[1])
import earlyfork

LOOK = """
import sys, warnings
def look():
    x = sys._xoptions
    return [tuple(sys.flags), sorted(map(str, x.items())), sys.warnoptions, sys.path, sys.prefix,
            sys.exec_prefix, sys.version, sys.flags.utf8_mode, sys.getfilesystemencoding(),
            sys.dont_write_bytecode, __debug__]
"""
exec(LOOK)
here = look()  # noqa: F821 - it is defined now
process = earlyfork.new_exec().eval(LOOK)
process.eval("assert look() == args[0], (look(), args[0])", here).ready(10)
print("equal")
