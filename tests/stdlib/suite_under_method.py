"""The interpreter's own multiprocessing tests, for the start method that MP_METHOD names.

A module of its own, as test.test_multiprocessing_spawn is one: workers import it to find the
classes.
"""

from __future__ import annotations

import os

import test._test_multiprocessing as suite

import earlyfork.mp  # noqa: F401 - registers the start method

suite.install_tests_in_module_dict(globals(), os.environ["MP_METHOD"])
