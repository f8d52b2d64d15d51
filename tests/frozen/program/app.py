"""The frozen program that the tests run: app ORIGIN SCENARIO RESULT [WORD ...].

With the origin `early` it begins with `import earlyfork`, as the README says. With `library` it
does not: then only a library (scenarios.py) uses earlyfork, and processes come about by launching
this binary again. That must never get as far as this file: it would print a second `body`, and its
arguments would be refused.
"""

import sys

import aaa_hooked  # noqa: F401 - imported before earlyfork, its runtime hook comes after ours

if sys.argv[1:2] == ["early"]:
    import earlyfork  # noqa: F401 - the import is what makes the early template

import argparse
import json
import os
import socket

if sys.stdout is not None:
    print("body", flush=True)

parser = argparse.ArgumentParser()
parser.add_argument("origin", choices=["early", "library"])
parser.add_argument("scenario")
parser.add_argument("result")
parser.add_argument("words", nargs="*")
arguments = parser.parse_args()

import scenarios  # noqa: E402 - the body is seen to run before this

NUMBERS = list(range(1000))


def bare(sock: socket.socket, word: str) -> None:
    """What the snapshot runs by its bare name, and what it shares with the program."""
    sock.sendall(json.dumps([word, sum(NUMBERS), os.getpid()]).encode())


if arguments.scenario == "snapshot":
    from earlyfork.template import TEMPLATE

    scenarios.TEMPLATE = TEMPLATE

scenarios.play(arguments.scenario, arguments.result, arguments.words)
