"""A pool whose worker runs a job, and one that is not visible. Says the pids of their workers."""

import earlyfork  # the first line
import json
import sys

from earlyfork.pool import Pool

assert earlyfork
with Pool(max_workers=1) as pool, Pool(max_workers=1, visible=False) as other:
    pids = [one.submit("os.getpid").result() for one in (pool, other)]
    jobs = [one.submit("time.sleep", 60) for one in (pool, other)]
    print(json.dumps(pids))
    sys.stdout.flush()
    sys.stdin.readline()
    for job in jobs:
        job.cancel()
