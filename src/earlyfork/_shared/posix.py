"""The system's own functions, as they were before any other code could replace them (gevent does).

`os` hands on what it finds in `posix`; what is replaced there is not replaced here.
"""

from __future__ import annotations

from posix import close, fork, getpid, kill, waitid, waitpid

__all__ = ["close", "fork", "getpid", "kill", "waitid", "waitpid"]
