"""Measures coverage in interpreters that have no coverage of their own; see docs/reliability.md.

Tests start venves, renamed copies, C programs that embed Python: `support.clean_env` puts this
directory on their path while coverage is measured, and names where coverage lies. Must leave no
trace that a test could see: neither that directory nor this one stays on `sys.path`.
"""

import os
import sys

_place, _, _version = os.environ.get("COVERAGE_HOME", "").rpartition(":")
sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(__file__)]  # noqa: PTH120
if _place and _version == sys.implementation.cache_tag:
    sys.path.append(_place)
    try:
        import coverage
    except ImportError:  # no write: a test may look at stderr
        pass
    else:
        coverage.process_startup()
    finally:
        sys.path.remove(_place)
