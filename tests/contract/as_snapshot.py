"""Runs the contract suite in a program that took a snapshot of itself (see test_origins.py)."""

from __future__ import annotations

import sys

import pytest
import work  # noqa: F401 - what the snapshot shall contain

import earlyfork  # noqa: F401 - the early template comes first
from earlyfork.template import TEMPLATE  # contract/conftest.py finds it in __main__

if __name__ == "__main__":
    TEMPLATE.standby = 2  # and not as many as the bursts of earlier tests would have it keep
    for _ in range(2):  # its queue and its standbys stay, as the fixture knows of the default one
        TEMPLATE.fork().ready(10).close()
    sys.exit(pytest.main(sys.argv[1:]))
