"""Imports earlyfork when too few fds are left for an early template."""

import os
import resource
import support
import warnings

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for room in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    filled = support.fill_fds()
    if room == 3:  # the import itself needs one
        for fd in filled[:3]:
            os.close(fd)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import earlyfork
        filled = filled[3:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    for fd in filled:
        os.close(fd)
assert [w.category for w in caught] == [earlyfork.EarlyForkWarning], caught
status = earlyfork.status()
assert not status.early and "open files" in status.reason, status
earlyfork.new().ready(10)
