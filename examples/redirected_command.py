"""Commands with redirected streams, started by a worker that turns into the command.

The program itself is never forked, however big it is and whatever threads it runs: a clean worker
gets the open files, puts them in the place of its streams and executes the command. What the
command writes to stderr comes back through the socket; its exit status is seen exactly.

    python redirected_command.py
"""

import earlyfork  # the first line: a clean process is forked here, to be forked from later

import os
import signal
import socket
import sys
import tempfile
from typing import BinaryIO


def execute(sock: socket.socket, source: BinaryIO, target: BinaryIO, *command: str) -> None:
    """What the worker does: become the command."""
    for number, file in enumerate((source, target, sock)):
        os.dup2(file.fileno(), number)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; commands count on it
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")  # stderr is the socket by now


def run(command: list[str], source: BinaryIO, target: BinaryIO) -> tuple[int, str]:
    """Run a command from one file to another; its exit status and what it said on stderr."""
    process = earlyfork.new().send_fh(source, target).send_arg(*command)
    with process.run("redirected_command.execute") as errors, errors.makefile() as lines:
        said = lines.read()  # to the end: then the command has closed its streams, or is gone
    return process.wait(), said.strip()


def main() -> None:
    with tempfile.TemporaryFile() as fruit, tempfile.TemporaryFile() as result:
        fruit.write(b"pear\napple\nquince\n")
        for command in (
            ["sort", "-r"],
            ["sh", "-c", "echo I quit >&2; exit 42"],
            ["sh", "-c", "kill -KILL $$"],
            ["no-such-command"],
        ):
            fruit.seek(0)  # the command shares this position
            status, said = run(command, fruit, result)
            print(f"{' '.join(command)}: status {status}", said and f"({said})")
        result.seek(0)
        print(result.read().decode().split())


if __name__ == "__main__":
    main()
