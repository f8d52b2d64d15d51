"""A library that makes processes, and knows nothing of the program that uses it.

Some regular expressions take for ever on some texts, and nothing can interrupt one. Here each
search has a process of its own, which is killed when its time is up.
"""

import re
import socket

import earlyfork  # in a library this forks nothing


def _search(sock: socket.socket, pattern: str, text: str) -> None:
    """What the process does: answer with two numbers, or with nothing."""
    if found := re.search(pattern, text):
        sock.sendall(b"%d %d" % found.span())


def search(pattern: str, text: str, *, timeout: float = 5) -> tuple[int, int] | None:
    """Where the pattern is found in the text, or None.

    Raises:
        re.error: the pattern is none.
        TimeoutError: the search takes longer than `timeout` seconds.
        earlyfork.RemoteError: the process failed.
    """
    re.compile(pattern)  # a mistake of the caller is told by the call
    process = earlyfork.new().send_arg(pattern, text)
    # linked: it would not notice in the middle of a search that the program has ended.
    with process.run(_search, linked=True) as sock:
        sock.settimeout(timeout)
        try:
            answer = sock.makefile("rb").read()
        except TimeoutError:
            process.kill()
            process.wait()
            raise TimeoutError(f"{pattern!r} takes more than {timeout} seconds") from None
    process.wait(check=True)
    if not answer:
        return None
    first, last = map(int, answer.split())
    return first, last
