"""Clients for the tests, closed or killed at their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def new_client() -> Iterator[Callable[..., Any]]:
    """Make clients of new processes."""
    import earlyfork
    from earlyfork import rpc

    made = []

    def new(*args: Any, **kwargs: Any) -> Any:
        made.append(rpc.Client(kwargs.pop("process", None) or earlyfork.new(), *args, **kwargs))
        return made[-1]

    yield new
    for client in made:
        client.kill()
        client.join()
        client.process.close()


@pytest.fixture
def client(new_client: Callable[..., Any]) -> Any:
    return new_client()
