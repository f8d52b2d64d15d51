"""Closes all fds behind earlyfork's back, and opens files in their place."""

import earlyfork
import gc
import os
import warnings
import work

for _ in range(3):  # standbys wait in the queue
    kept = earlyfork.new().ready(10)
os.closerange(3, 256)
files = [open(f"file-{n}", "w") for n in range(40)]
theirs = {file.fileno(): os.fstat(file.fileno()).st_ino for file in files}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    process = earlyfork.new()
assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
assert "closed behind earlyfork's back" in str(caught[0].message)
assert work.got(process.run(work.pid)) == process.pid
assert process.wait(10) == 0
assert work.got(earlyfork.new().run(work.pid))
gc.collect()
assert {fd: os.fstat(fd).st_ino for fd in theirs} == theirs
for file in files:
    file.write("whole")
    file.close()
assert {open(file.name).read() for file in files} == {"whole"}
