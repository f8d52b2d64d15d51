"""A call that takes too long is ended, and its worker goes on.

Some patterns take `re` years. No thread can be stopped in the middle of that, but a call in another
process can. `re` looks at signals now and then, so the worker lives on. Code that does not is
killed with its worker after the grace, and the next worker takes its place.

    python call_with_timeout.py
"""

import earlyfork

import re

from earlyfork import rpc

template = (
    earlyfork.new()
    .require("earlyfork.rpc")
    .eval("""
import re

def fits(pattern, text):
    return re.fullmatch(pattern, text) is not None
""")
)


def matches(client: rpc.Client, pattern: str, text: str) -> str:
    """What `re` says, if it says so in a third of a second."""
    try:
        found = client.options(timeout=0.3, grace=0.1).call("fits", pattern, text)
    except rpc.CallTimeout:
        return "gave up"
    except re.error as error:
        return f"no pattern, {error}"
    return "yes" if found else "no"


def main() -> None:
    client = rpc.Client(template.fork())
    for pattern, text in [("a+", "b"), ("(a", "a"), ("(a+)+b", "a" * 40), ("a+b", "aaab")]:
        if client.process.poll() is not None:
            client = rpc.Client(template.fork())
        print(f"{pattern}: {matches(client, pattern, text)}")
    client.close()
    client.join()


if __name__ == "__main__":
    main()
