"""What a worker's process runs."""

from __future__ import annotations

from earlyfork.rpc._worker import Worker

TYPE_CHECKING = False  # typing costs more than all of this to import
if TYPE_CHECKING:
    from typing import Any


def serve(sock: Any, *given: object) -> None:
    """Serve the client at the other end of `sock`."""
    Worker(sock, given).serve(_serve_all)


def _serve_all(worker: Worker) -> None:
    if worker.concurrency > 1:
        from earlyfork.rpc import _tasks

        _tasks.serve(worker)
    else:
        worker.run_all()
