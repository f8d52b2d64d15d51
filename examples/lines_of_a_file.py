"""A generator in a worker streams the lines of a large file, and tells how far it is.

The open file goes to the worker as an argument. The worker is at most 16 lines ahead.

    python lines_of_a_file.py
"""

import earlyfork

import tempfile

from earlyfork import rpc

process = earlyfork.new().eval("""
from earlyfork.rpc import event

def long_lines(file, least):
    with file:
        for number, line in enumerate(file, 1):
            if number % 25_000 == 0:
                event("read", number)
            if len(line) > least:
                yield number, line.rstrip()
""")


def main() -> None:
    with tempfile.TemporaryFile("w+") as file, rpc.Client(process) as client:
        for number in range(100_000):
            file.write("x" * (number % 1000 == 0) + f"line {number}\n")
        file.seek(0)
        found = list(client.stream("long_lines", file, len("line 99999\n")))
        client.close()
        for event in client.events():
            print(*event)
        print(len(found), "lines, the last one is", found[-1])


if __name__ == "__main__":
    main()
