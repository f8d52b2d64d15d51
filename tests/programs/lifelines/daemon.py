"""Becomes a daemon that closes CLOSE, and writes to `log` how it fared; USED processes before."""

import earlyfork
import os
import sys
import traceback
import warnings

close, used = sys.argv[1:]
log = os.path.abspath("log")
if used == "True":
    for _ in range(3):
        earlyfork.new().ready(10).close()
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir("/")
os.umask(0)
os.closerange(0, 3 if close == "the streams" else 1024)
if close == "everything":
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
verdict = "good"
try:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import work

        for _ in range(3):
            process = earlyfork.new()
            seen = work.got(process.run(work.surroundings))
            assert process.wait(10) == 0
            null = os.stat(os.devnull).st_ino
            assert seen["streams"] == [null] * 3, (null, seen["streams"])
            assert seen["cwd"] == "/", seen
    assert len(caught) == (1 if close == "everything" else 0), [str(w.message) for w in caught]
except BaseException:
    verdict = traceback.format_exc()
with open(log + ".new", "w") as file:
    file.write(verdict)
os.rename(log + ".new", log)
