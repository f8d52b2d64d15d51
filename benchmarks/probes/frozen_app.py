"""For benchmarks/frozen.py: prints the median time from new() to a worker's first byte."""

import earlyfork  # isort: skip

import statistics
import sys
import time

ROUNDS = int(sys.argv[1])
PACE = 0.004  # between requests, so that standbys are there again


def one() -> float:
    begun = time.perf_counter()
    process = earlyfork.new()
    with process.run("frozen_work.say") as sock:
        sock.recv(1)
        took = time.perf_counter() - begun
    process.wait()
    time.sleep(PACE)
    return took


for _ in range(10):
    one()
print(statistics.median(one() for _ in range(ROUNDS)) * 1e6)
