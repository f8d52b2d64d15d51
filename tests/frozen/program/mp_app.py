"""A frozen program with an early template that uses multiprocessing as well: mp_app RESULT."""

import earlyfork  # isort: skip

import json
import multiprocessing
import sys
from pathlib import Path

import mp_work

if __name__ == "__main__":
    multiprocessing.freeze_support()
    seen = {"early": earlyfork.status().early}
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            seen[method] = pool.apply(mp_work.answer, (7,))
    process = earlyfork.new()
    with process.run("mp_work.spawn_from_a_worker") as sock, sock.makefile("rb") as file:
        seen["worker"] = json.loads(file.read())
    assert process.wait(20) == 0
    Path(sys.argv[1]).write_text(json.dumps(seen))
