"""Commands with redirected streams, run by a clean process in the place of this program.

This program is never forked, however big it is and whatever threads it runs.

    python redirected_command.py
"""

import earlyfork  # noqa: F401 - the first line: a clean process is forked here, to be forked from

import tempfile

from earlyfork import command

with tempfile.TemporaryFile() as fruit:
    command.run(["printf", r"pear\napple\nquince\n"], stdout=fruit, check=True)
    fruit.seek(0)  # the command shares this position
    print(command.run(["sort", "-r"], stdin=fruit, capture_output=True, text=True).stdout.split())
    print(command.run(["sh", "-c", "kill -KILL $$"]).returncode)
