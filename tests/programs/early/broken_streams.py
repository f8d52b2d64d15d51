"""Begins with a stdout that is closed and a stderr that nobody reads."""

import os
import sys

reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
sys.stderr = open(2, "w", closefd=False)
sys.stderr.write("lost")
sys.stdout.close()
import earlyfork
import work

process = earlyfork.new().send_arg("x")
assert work.got(process.run(work.echo)) == ("x",)
with open("early", "w") as file:
    file.write(str(earlyfork.status().early))
sys.stderr = None
