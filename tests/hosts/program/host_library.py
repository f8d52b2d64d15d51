"""A library: makes processes, knowing nothing of how its host was packed or started."""

from __future__ import annotations

import json
import os
import sys

import earlyfork

PATIENCE = 20


def one(process: earlyfork.Process) -> dict[str, object]:
    """Have a process import what only the program has, and write to a pipe that it gets."""
    read, write = os.pipe()
    process.send_fh(write).send_arg("word")
    os.close(write)
    with process.run("host_work.work") as sock, os.fdopen(read) as pipe:
        sock.settimeout(PATIENCE)
        said = json.loads(sock.makefile("rb").read())
        return {**said, "piped": pipe.read(), "returncode": process.wait(PATIENCE)}


def report() -> None:
    """Make a process in each way and print what they say, as one line."""
    found: dict[str, object] = {
        "executable": sys.executable,
        "version": list(sys.version_info[:3]),
        "pid": os.getpid(),
    }
    try:
        found["new"] = one(earlyfork.new())
        found["new_exec"] = one(earlyfork.new_exec())
    except earlyfork.EarlyForkError as error:
        found["error"] = str(error)
    status = earlyfork.status()
    found.update(early=status.early, reason=status.reason, interpreter=status.interpreter)
    print(json.dumps(found))
