"""Children that end in every way, each with what its parent sees."""

import os
import signal
import sys

import earlyfork.mp

ctx = earlyfork.mp.get_context()


def end(how):
    how = int(how) if how.lstrip("-").isdigit() else how
    if how == "raise":
        sys.stderr = open(os.devnull, "w")
        raise ValueError
    if how == "text":
        sys.stderr = open(os.devnull, "w")
        sys.exit("a message")
    if how == "_exit":
        os._exit(77)
    if how == "none":
        sys.exit()
    if isinstance(how, int) and how < 0:
        os.kill(os.getpid(), -how)
        signal.pause()
    sys.exit(how)


if __name__ == "__main__":
    for how in ("0", "1", "7", "255", "raise", "text", "_exit", "none", "-9", "-15", "-6", "-11"):
        p = ctx.Process(target=end, args=(how,))
        p.start()
        p.join()
        print(how, p.exitcode)
        p.close()
