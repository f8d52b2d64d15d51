"""A program that uses a library which makes processes: with threads running, as programs have them.

With the first line, the library's processes are forked from a clean template of this program.
Without it they come from an interpreter that is launched in the background; all else is the same.
See the difference in the line that this prints first:

    python library_host.py
    EARLYFORK=0 python library_host.py
"""

import earlyfork

import re
from concurrent.futures import ThreadPoolExecutor

import a_library

TEXT = "a" * 40 + "!"
PATTERNS = ["a!", "b", "(a+)+b", "(a"]


def describe(pattern: str) -> str:
    """One line about one search, however it ends."""
    try:
        return f"{pattern}: {a_library.search(pattern, TEXT, timeout=2)}"
    except TimeoutError as error:
        return f"{pattern}: gave up, {error}"
    except re.error as error:
        return f"{pattern}: no pattern, {error}"


if __name__ == "__main__":
    with ThreadPoolExecutor() as threads:
        lines = list(threads.map(describe, PATTERNS))
    print("from", *(template.name for template in earlyfork.status().templates), "template")
    print(*lines, sep="\n")
