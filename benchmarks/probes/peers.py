"""What Python offers otherwise: multiprocessing's three methods, subprocess, loky, trio-parallel.

Each is taken at its best: the fork server has the function loaded beforehand, and what subprocess
launches has nothing to load.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from time import perf_counter, sleep

import report
import tasks

WIRE = "import os;os.write(1,b'x')"


def samples(wish: report.Wish) -> dict[str, object]:
    """First byte, how long the caller is blocked, and the whole until the exit was seen."""
    one = {"subprocess": launched, "loky": loky_worker, "trio-parallel": trio_worker}.get(
        wish.method
    )
    if one is None:
        context = multiprocessing.get_context(wish.method)

        def one() -> tuple[float, float, float]:
            return started(context)

    rows = []
    for _ in range(wish.count):
        rows.append(one())
        if wish.gap:
            sleep(wish.gap)
    blocked, first, whole = (list(column) for column in zip(*rows, strict=True))
    return {"blocked": blocked, "first": first, "rate": whole}


def started(context: multiprocessing.context.BaseContext) -> tuple[float, float, float]:
    """A multiprocessing.Process."""
    start = perf_counter()
    near, far = context.Pipe()
    process = context.Process(target=tasks.mp_hello, args=(far,))
    process.start()
    after = perf_counter()
    far.close()
    near.recv_bytes()
    byte = perf_counter()
    process.join()
    end = perf_counter()
    near.close()
    return after - start, byte - start, end - start


def launched() -> tuple[float, float, float]:
    """A bare interpreter, started by subprocess."""
    start = perf_counter()
    command = [sys.executable, "-I", "-S", "-c", WIRE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        after = perf_counter()
        assert process.stdout is not None
        process.stdout.read(1)
        byte = perf_counter()
        process.wait()
        end = perf_counter()
    return after - start, byte - start, end - start


def loky_worker() -> tuple[float, float, float]:
    """An executor of one worker, until its first answer and until it is gone."""
    from loky import ProcessPoolExecutor

    start = perf_counter()
    with ProcessPoolExecutor(max_workers=1) as executor:
        future = executor.submit(tasks.answer)
        after = perf_counter()
        future.result()
        byte = perf_counter()
    return after - start, byte - start, perf_counter() - start


def trio_worker() -> tuple[float, float, float]:
    """A worker context with one call in it."""
    import trio
    import trio_parallel

    async def call() -> tuple[float, float, float]:
        start = perf_counter()
        async with trio_parallel.open_worker_context() as context:
            await context.run_sync(tasks.answer)
            byte = perf_counter()
        return 0.0, byte - start, perf_counter() - start

    return trio.run(call)


def memory(wish: report.Wish) -> dict[str, object]:
    """Private memory of idle workers, in bytes."""
    context = multiprocessing.get_context(wish.method)
    row = []
    for _ in range(wish.count):
        near, far = context.Pipe()
        process = context.Process(target=tasks.mp_idle, args=(far,))
        process.start()
        far.close()
        near.recv_bytes()
        row.append((process, near))
    found = [private(process.pid) for process, _ in row]
    for process, near in row:
        near.send_bytes(b"x")
        process.join()
    return {"private": found}


def private(pid: int | None) -> int:
    """USS."""
    with open(f"/proc/{pid}/smaps_rollup") as file:  # noqa: PTH123
        lines = [line.split() for line in file if line.startswith("Private_")]
    return sum(int(words[1]) * 1024 for words in lines if "Hugetlb" not in words[0])


if __name__ == "__main__":
    if report.wish().method == "forkserver":
        multiprocessing.set_forkserver_preload(["tasks"])
    report.main({"samples": samples, "memory": memory}, warm=0 if sys.argv[1] == "memory" else 1)
    sys.stdout.flush()
    os._exit(0)  # loky and the fork server take their time to go
