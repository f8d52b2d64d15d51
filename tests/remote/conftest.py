"""Templates that a relay speaks for, closed at the end of their test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from earlyfork import Process


@pytest.fixture
def connect() -> Iterator[Callable[..., Process]]:
    """Connect through a command, to an interpreter like this one."""
    from earlyfork import remote

    made = []

    def new(command: Any = ("env",), *, ships: bool = True, **options: Any) -> Process:
        host = remote.connect(command, **{"python": sys.executable, **options})
        made.append(host)
        return remote.ship(host, "remote_work") if ships else host

    yield new
    for host in made:
        host.close()


@pytest.fixture
def host(connect: Callable[..., Process]) -> Process:
    return connect()
