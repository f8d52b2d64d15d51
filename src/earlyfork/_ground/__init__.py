"""What earlyfork asks the system: platforms, fds, threads, frozen apps, pids that it started.

Imports `_shared.wire` only, for the base of the errors.
"""
