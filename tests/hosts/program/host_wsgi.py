"""The same for a web server: what the workers say is what a request gets."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import host_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def application(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        host_library.report()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.getvalue().encode()]
