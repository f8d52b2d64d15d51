"""Pools for the tests, killed at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def new_pool() -> Iterator[Callable[..., Any]]:
    """Make pools."""
    from earlyfork.pool import Pool

    made = []

    def new(*args: Any, **kwargs: Any) -> Any:
        made.append(Pool(*args, **kwargs))
        return made[-1]

    yield new
    for pool in made:
        pool.kill()
        pool.shutdown()


@pytest.fixture
def pool(new_pool: Callable[..., Any]) -> Any:
    """A pool of two workers."""
    return new_pool(max_workers=2)
